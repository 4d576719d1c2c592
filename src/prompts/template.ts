// Prompt templates: prompts of workflows that are plain data.
//
// Text with placeholders `{{ input.customer.name }}`, `{{ results.classify.category }}`, `{{ results["policy check"][0] }}`.
// A placeholder is a path, not an expression: there is nothing to evaluate. `\{{` writes two braces. What a value
// contains is never read as a template again.

import type { Issue } from '../errors.ts'
import { isUnsafeKey } from '../ids.ts'
import { limits } from '../limits.ts'

/** Characters of one template. Larger texts belong into the input. */
const templateCharsMax = 1024 * 1024
/** Messages of one prompt template. */
const templateMessagesMax = 1_000

/** Roles a template may speak in. Tool results come from tools only. */
export type TemplateRole = 'system' | 'user' | 'assistant'

/** A prompt as a user writes it: one text (one user message), or messages. */
export type PromptSource = string | readonly { readonly role: TemplateRole; readonly content: string }[]

/** A path into the input of the run or into the results of a declared dependency. */
export interface Placeholder {
  readonly root: 'input' | 'results'
  /** Keys from the root; the first key below `results` is a declared stage. */
  readonly keys: readonly string[]
  /** As it was written, for messages: `{{ input.text }}`. */
  readonly source: string
  /** Where it begins, from 1. */
  readonly line: number
  /** Where it begins, UTF-16 units from 1. */
  readonly column: number
}

/** A text in pieces: a literal, a placeholder, a literal, ... and a literal at the end. Plain data. */
export interface CompiledTemplate {
  /** Where the template stands, for messages: `stages.reply.prompt[1].content`. */
  readonly path: string
  /** One more than there are placeholders. */
  readonly literals: readonly string[]
  readonly placeholders: readonly Placeholder[]
}

/** A prompt that can be rendered. Plain data. */
export interface CompiledPrompt {
  readonly messages: readonly { readonly role: TemplateRole; readonly template: CompiledTemplate }[]
}

/** A prompt, or everything that is wrong with it. */
export type PromptCompilation = { ok: true; prompt: CompiledPrompt } | { ok: false; issues: Issue[] }

/** What a template may refer to, and where it stands. */
export interface TemplateScope {
  /** Path of the prompt in its definition: `stages.reply.prompt`. */
  path: string
  /** Declared dependencies of the stage: only their results may be used. */
  stages: readonly string[]
}

const roles: ReadonlySet<unknown> = new Set<TemplateRole>(['system', 'user', 'assistant'])

/**
 * Compiles a prompt once, for many renderings. Never throws; all problems at once, each with line and column.
 *
 * Issue codes: `template_syntax`, `template_unclosed`, `unknown_root`, `unknown_stage`, `unsafe_key`,
 * `template_too_long`, `unknown_role`, `empty_prompt`.
 */
export function compilePrompt(source: PromptSource, scope: TemplateScope): PromptCompilation {
  const issues: Issue[] = []
  const messages: { role: TemplateRole; template: CompiledTemplate }[] = []
  if (typeof source === 'string') {
    messages.push({ role: 'user', template: compileTemplate(source, scope.path, scope.stages, issues) })
  } else {
    if (source.length === 0 || source.length > templateMessagesMax) {
      const code = source.length === 0 ? 'empty_prompt' : 'template_too_long'
      const message = `a prompt has 1 to ${templateMessagesMax} messages, this one has ${source.length}`
      issues.push({ path: scope.path, code, message })
    }
    for (const [index, { role, content }] of source.slice(0, templateMessagesMax).entries()) {
      const path = `${scope.path}[${index}]`
      if (!roles.has(role)) {
        const message = `role must be "system", "user" or "assistant", is ${JSON.stringify(role)}`
        issues.push({ path: `${path}.role`, code: 'unknown_role', message })
      }
      messages.push({ role, template: compileTemplate(content, `${path}.content`, scope.stages, issues) })
    }
  }
  return issues.length === 0
    ? { ok: true, prompt: { messages } }
    : { ok: false, issues: issues.slice(0, limits.issuesMax) }
}

/**
 * Compiles one path, as a placeholder without its braces: `input.text`, `results.classify.category`.
 *
 * Issue codes as in {@link compilePrompt}.
 */
export function compilePath(
  path: string,
  scope: TemplateScope,
): { ok: true; placeholder: Placeholder } | { ok: false; issues: Issue[] } {
  const issues: Issue[] = []
  const { literals, placeholders } = compileTemplate(`{{ ${path} }}`, scope.path, scope.stages, issues)
  const [placeholder] = placeholders
  if (issues.length > 0) return { ok: false, issues }
  if (placeholder !== undefined && placeholders.length === 1 && literals.every((text) => text === '')) {
    return { ok: true, placeholder }
  }
  const message = `${JSON.stringify(path)} is not one path such as input.text or results.stage.key`
  return { ok: false, issues: [{ path: scope.path, code: 'template_syntax', message }] }
}

function compileTemplate(text: string, path: string, stages: readonly string[], issues: Issue[]): CompiledTemplate {
  const literals: string[] = []
  const placeholders: Placeholder[] = []
  if (text.length > templateCharsMax) {
    const message = `a template has at most ${templateCharsMax} characters, this one has ${text.length}; pass long texts as input`
    issues.push({ path, code: 'template_too_long', message })
    return { path, literals: [''], placeholders }
  }
  const position = positionsIn(text)
  let literal = ''
  let from = 0
  for (;;) {
    const open = text.indexOf('{{', from)
    if (open === -1) break
    if (open > 0 && text[open - 1] === '\\') {
      literal += `${text.slice(from, open - 1)}{{`
      from = open + 2
      continue
    }
    const at = position(open)
    const parsed = parsePlaceholder(text, open + 2)
    const problem = parsed.ok ? refuse(parsed.keys, stages) : parsed
    if (problem !== undefined) {
      const message = `line ${at.line}, column ${at.column}: ${problem.message}`
      issues.push({ path, code: problem.code, message })
    }
    if (!parsed.ok) {
      // Goes on after the next end of a placeholder, so that one mistake does not hide the others.
      const close = text.indexOf('}}', open + 2)
      if (close === -1) break
      from = close + 2
      continue
    }
    literals.push(literal + text.slice(from, open))
    literal = ''
    const [root, ...keys] = parsed.keys
    const source = text.slice(open, parsed.end)
    placeholders.push({ root: root === 'input' ? 'input' : 'results', keys, source, ...at })
    from = parsed.end
  }
  literals.push(literal + text.slice(from))
  return { path, literals, placeholders }
}

type Parsed = { ok: true; keys: string[]; end: number } | { ok: false; code: string; message: string }

const name = /[\p{L}\p{N}_$-]+/uy
const spaces = /\s*/y
const quoted = /\[\s*("(?:[^"\\\n]|\\.)*")\s*\]/y
const index = /\[\s*(\d{1,10})\s*\]/y

/** Parses a path that begins at `start`, up to and including `}}`. */
function parsePlaceholder(text: string, start: number): Parsed {
  let at = start
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at
    const match = pattern.exec(text)
    if (match !== null) at = pattern.lastIndex
    return match
  }
  const unexpected = (expected: string): Parsed => {
    if (at >= text.length)
      return { ok: false, code: 'template_unclosed', message: 'a placeholder is not closed by "}}"' }
    const found = JSON.stringify(String.fromCodePoint(text.codePointAt(at)!))
    const help = 'a placeholder is a path such as {{ input.text }}; write \\{{ for two braces'
    return { ok: false, code: 'template_syntax', message: `expected ${expected}, found ${found} (${help})` }
  }
  take(spaces)
  const root = take(name)
  if (root === null) return unexpected('"input" or "results"')
  const keys = [root[0]]
  for (;;) {
    const bracket = take(index) ?? take(quoted)
    if (bracket !== null) {
      const key = keyOf(bracket[1]!)
      if (key === undefined) return unexpected('a key in JSON quotes before this')
      keys.push(key)
      continue
    }
    take(spaces)
    if (text.startsWith('}}', at)) return { ok: true, keys, end: at + 2 }
    if (text[at] === '[') return unexpected('[0] or ["a key"]')
    if (text[at] !== '.') return unexpected('".", "[" or "}}"')
    at++
    const key = take(name)
    if (key === null) return unexpected('a name after "."')
    keys.push(key[0])
  }
}

/** The key in brackets: digits, or a JSON string. */
function keyOf(bracketed: string): string | undefined {
  if (!bracketed.startsWith('"')) return String(Number(bracketed))
  try {
    return String(JSON.parse(bracketed))
  } catch {
    return undefined
  }
}

/** Why a path may not be used here, if so. */
function refuse(path: readonly string[], stages: readonly string[]): { code: string; message: string } | undefined {
  const [root, stage] = path
  const unsafe = path.find((key) => isUnsafeKey(key))
  if (unsafe !== undefined) return { code: 'unsafe_key', message: `"${unsafe}" is not accepted as a key` }
  if (path.length > limits.jsonDepthMax) {
    return {
      code: 'template_syntax',
      message: `a path has at most ${limits.jsonDepthMax} keys, this one has ${path.length}`,
    }
  }
  if (root === 'input') return undefined
  if (root !== 'results') {
    return { code: 'unknown_root', message: `"${root}" is unknown: a path begins with "input" or "results"` }
  }
  if (stage !== undefined && stages.includes(stage)) return undefined
  const declared = stages.length === 0 ? 'it declares none' : `it declares ${stages.slice(0, 10).join(', ')}`
  const message =
    stage === undefined
      ? '"results" needs the name of a stage: {{ results.<stage> }}'
      : `"${stage}" is not a declared dependency of this stage (${declared}): add it to "after"`
  return { code: 'unknown_stage', message }
}

/** Line and column of growing offsets into `text`, without starting over each time. */
function positionsIn(text: string): (offset: number) => { line: number; column: number } {
  let line = 1
  let lineStart = 0
  return (offset) => {
    for (;;) {
      const end = text.indexOf('\n', lineStart)
      if (end === -1 || end >= offset) break
      line++
      lineStart = end + 1
    }
    return { line, column: offset - lineStart + 1 }
  }
}
