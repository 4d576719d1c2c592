// Rendering of compiled prompt templates.
//
// Two steps. Filling looks up what the placeholders name and turns it into texts; it needs the values, so it happens
// where they are. Building joins the texts into messages; it needs texts only, so it can happen on any thread.

import { messageOf, StageError } from '../errors.ts'
import type { Message } from '../schema/message.ts'
import type { CompiledPrompt, CompiledTemplate, Placeholder, TemplateRole } from './template.ts'

/** Characters of one rendered prompt: more than any engine takes in a request. */
const renderedCharsMax = 32 * 1024 * 1024

/** What placeholders refer to. The context of a stage fits. */
export interface TemplateValues {
  readonly input: unknown
  /** Results of the declared dependencies by name. A skipped dependency's is absent or undefined. */
  readonly results: Readonly<Record<string, unknown>>
}

/** A message whose text is still in pieces. Plain data. */
export interface DraftMessage {
  role: TemplateRole
  pieces: string[]
}

/**
 * Fills the placeholders of a prompt.
 *
 * Text stays as it is; numbers, booleans and null as JSON writes them; arrays and objects become JSON. Only own
 * properties are read. The result of a skipped stage, and anything below it, is empty text; whatever else is missing is
 * an error.
 *
 * @throws {StageError} `ORLA_STAGE_BUILDER` with the placeholder and its place, if a value is missing or has no JSON
 *   form, or if the prompt grows beyond 32 million characters
 */
export function fillPrompt(prompt: CompiledPrompt, values: TemplateValues): DraftMessage[] {
  let chars = 0
  return prompt.messages.map(({ role, template }) => {
    const pieces: string[] = []
    const add = (piece: string): void => {
      chars += piece.length
      if (chars > renderedCharsMax) {
        const message = `${template.path}: the prompt is longer than ${renderedCharsMax} characters; shorten what it is filled with`
        throw new StageError('ORLA_STAGE_BUILDER', message, {
          details: { path: template.path, limit: renderedCharsMax },
        })
      }
      if (piece !== '') pieces.push(piece)
    }
    for (const [index, literal] of template.literals.entries()) {
      add(literal)
      const placeholder = template.placeholders[index]
      if (placeholder !== undefined) add(fill(placeholder, template, values))
    }
    return { role, pieces }
  })
}

/** Joins a draft into a message. */
export function buildMessage({ role, pieces }: DraftMessage): Message {
  return { role, content: pieces.length === 1 ? pieces[0]! : pieces.join('') }
}

function fill(placeholder: Placeholder, template: CompiledTemplate, values: TemplateValues): string {
  try {
    const value = lookUp(placeholder, values)
    return value === undefined ? '' : asText(value)
  } catch (error) {
    const { source, line, column } = placeholder
    const message = `${template.path}: ${source} at line ${line}, column ${column}: ${messageOf(error)}`
    const details = { path: template.path, placeholder: source, line, column }
    throw new StageError('ORLA_STAGE_BUILDER', message, { details, cause: error })
  }
}

/** The value a path names, or undefined where anything on the way is missing. Reads own properties only. */
export function readPath(path: Placeholder, values: TemplateValues): unknown {
  let current: unknown = values[path.root]
  for (const key of path.keys) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, key)) return undefined
    current = (current as Record<string, unknown>)[key]
  }
  return current
}

/** The value a placeholder names, or undefined below a skipped stage. Throws a plain error that says what is missing. */
function lookUp({ root, keys }: Placeholder, values: TemplateValues): unknown {
  let current: unknown = values[root]
  let path: string = root
  for (const [index, key] of keys.entries()) {
    if (typeof current !== 'object' || current === null) {
      throw new Error(`${path} is ${kindOf(current)} and has no "${key}"`)
    }
    const next: unknown = Object.hasOwn(current, key) ? (current as Record<string, unknown>)[key] : undefined
    if (next === undefined) {
      if (root === 'results' && index === 0) return undefined
      throw new Error(`${path} has no "${key}"${keysOf(current)}`)
    }
    current = next
    path += `.${key}`
  }
  if (current === undefined) throw new Error(`there is no ${path}`)
  return current
}

/** The first keys of a value, for a message. */
function keysOf(value: object): string {
  if (Array.isArray(value)) return ` (it has ${value.length} items)`
  const keys = Object.keys(value)
  const shown = keys.slice(0, 10).join(', ')
  return keys.length === 0 ? ' (it is empty)' : ` (it has ${shown}${keys.length > 10 ? ', ...' : ''})`
}

function kindOf(value: unknown): string {
  return value === null ? 'null' : value === undefined ? 'missing' : `a ${typeof value}`
}

function asText(value: unknown): string {
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint') return String(value)
  const text: unknown = typeof value === 'object' ? JSON.stringify(value) : undefined
  if (typeof text === 'string') return text
  throw new Error(`${kindOf(value)} cannot be written into a prompt: it has no JSON form`)
}
