// Sets of tools: a part of one, and several in one.

import { OptionsError, type Issue } from '../errors.ts'
import type { ToolSet } from '../workflow/tool.ts'

/**
 * The tools of `names` alone: a stage offers what it lists, and nothing that a server adds later.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every name that is not in the set
 */
export function pick<Name extends string>(tools: ToolSet, names: readonly Name[]): Record<Name, ToolSet[string]> {
  const known = Object.keys(tools)
  const issues = names.flatMap((name, i): Issue[] => {
    if (Object.hasOwn(tools, name)) return []
    const message = `there is no tool "${name}"; there are: ${known.slice(0, 50).join(', ')}`
    return [{ path: `names[${i}]`, code: 'unknown_tool', message }]
  })
  if (issues.length > 0) throw new OptionsError('pick(tools, names)', issues)
  return Object.fromEntries(names.map((name) => [name, tools[name]!])) as Record<Name, ToolSet[string]>
}

/**
 * Several sets in one. Spreading them would let the last one win silently where two have a name in common.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every name that is in two sets
 */
export function mergeTools(...sets: readonly ToolSet[]): ToolSet {
  const merged = new Map<string, ToolSet[string]>()
  const issues: Issue[] = []
  sets.forEach((set, i) => {
    for (const [name, definition] of Object.entries(set)) {
      if (!merged.has(name)) merged.set(name, definition)
      else {
        const message = `two sets have a tool "${name}"; give one server a \`prefix\` or \`rename\` the tool`
        issues.push({ path: `sets[${i}].${name}`, code: 'name_clash', message })
      }
    }
  })
  if (issues.length > 0) throw new OptionsError('mergeTools(...sets)', issues)
  return Object.fromEntries(merged)
}
