// The catalog: which of a server's tools are offered, under which names. Pure.

import { z } from 'zod'
import { OptionsError, type Issue } from '../errors.ts'
import { isUnsafeKey } from '../ids.ts'
import { limits } from '../limits.ts'
import type { JsonSchema } from '../schema/json.ts'
import type { McpSettings } from './mcp-options.ts'
import { cut } from './tool-result.ts'
import { schemaProblem } from './tool-schema.ts'

/** One page of `tools/list`. Tools are looked at one by one, so that a broken one does not hide the others. */
export const ToolPage = z.looseObject({ tools: z.array(z.unknown()), nextCursor: z.string().optional() })

const ListedTool = z.looseObject({
  name: z.string(),
  title: z.string().optional(),
  description: z.string().optional(),
  inputSchema: z.unknown(),
  execution: z.looseObject({ taskSupport: z.string().optional() }).optional(),
})

/** A tool that is offered. */
export interface OfferedTool {
  /** What the model calls it. */
  name: string
  /** What the server calls it. */
  serverName: string
  description: string
  inputSchema: JsonSchema
}

/** A tool that the server has and that is not offered. */
export interface SkippedTool {
  name: string
  reason: string
}

/** What becomes of a server's tools. */
export interface Catalog {
  offered: OfferedTool[]
  skipped: SkippedTool[]
}

/** What every engine takes for a function's name: OpenAI's rule, which the others follow. */
const engineName = /^[A-Za-z0-9_-]{1,64}$/

/**
 * Chooses and names the tools of a server.
 *
 * A tool that cannot be offered at all (a schema that is none, one that only runs as a task) is skipped, unless `allow`
 * asks for it. A name that engines do not take is an error: to leave a tool out silently would be worse.
 *
 * @param server - what messages call the server
 * @throws {OptionsError} `ORLA_OPTIONS` with every name that clashes, is not valid, or does not exist
 */
export function catalogOf(
  server: string,
  listed: readonly unknown[],
  settings: Pick<McpSettings, 'allow' | 'prefix' | 'rename'>,
): Catalog {
  const { allow, prefix, rename } = settings
  const issues: Issue[] = []
  const report = (path: string, code: string, message: string): void => void issues.push({ path, code, message })
  const offered = new Map<string, OfferedTool>()
  const skipped: SkippedTool[] = []
  const known = new Set<string>()

  for (const item of listed) {
    const parsed = ListedTool.safeParse(item)
    if (!parsed.success) {
      skipped.push({ name: '(unnamed)', reason: 'the server describes it in a form that is not MCP' })
      continue
    }
    const { name: serverName } = parsed.data
    const path = `tools.${serverName.slice(0, limits.nameLengthMax)}`
    const twice = known.has(serverName)
    known.add(serverName)
    if (allow !== undefined && !allow.includes(serverName)) continue
    const problem = twice ? 'the server lists it twice' : usabilityProblem(parsed.data)
    if (problem !== undefined) {
      if (allow === undefined && !twice) skipped.push({ name: serverName, reason: problem })
      else report(path, 'unusable_tool', problem)
      continue
    }
    const name = Object.hasOwn(rename, serverName) ? rename[serverName]! : `${prefix}${serverName}`
    const first = offered.get(name)
    if (first !== undefined) {
      const message = `"${name}" is the name of "${first.serverName}" already; give one of them another with \`rename\``
      report(path, 'name_clash', message)
    } else if (!engineName.test(name) || isUnsafeKey(name)) {
      const message = `engines do not take ${JSON.stringify(name)} as a name (letters, digits, _ and -, at most 64); give it another with \`rename\`, or leave it out with \`allow\``
      report(path, 'name_invalid', message)
    } else {
      offered.set(name, {
        name,
        serverName,
        description: descriptionOf(parsed.data),
        inputSchema: parsed.data.inputSchema as JsonSchema,
      })
    }
  }
  const all = [...known].slice(0, 50).join(', ')
  for (const [option, names] of [
    ['allow', allow ?? []],
    ['rename', Object.keys(rename)],
  ] as const) {
    for (const name of names) {
      if (!known.has(name)) report(`options.${option}`, 'unknown_tool', `there is no tool "${name}"; there are: ${all}`)
    }
  }
  if (issues.length > 0) throw new OptionsError(`tools of MCP server "${server}"`, issues)
  return { offered: [...offered.values()], skipped }
}

function usabilityProblem(listed: z.output<typeof ListedTool>): string | undefined {
  return listed.execution?.taskSupport === 'required'
    ? 'it only runs as a task, which is not supported'
    : schemaProblem(listed.inputSchema)
}

function descriptionOf(listed: z.output<typeof ListedTool>): string {
  return cut(listed.description ?? listed.title ?? '', limits.mcpDescriptionCharsMax, 'the description')
}
