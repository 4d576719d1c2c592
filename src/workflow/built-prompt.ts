// What a prompt builder returned, checked.

import { StageError } from '../errors.ts'
import { user, type Message } from '../schema/message.ts'

const roles = new Set(['system', 'user', 'assistant', 'tool'])

/**
 * What a prompt builder returned, as messages. It is user code: anything may come back.
 *
 * @throws {StageError} `ORLA_STAGE_BUILDER` for anything but text or messages
 */
export function checkPrompt(built: unknown, stage: string): readonly Message[] {
  if (typeof built === 'string') return [user(built)]
  const complain = (what: string): never => {
    throw new StageError(
      'ORLA_STAGE_BUILDER',
      `stage "${stage}": the prompt builder returned ${what}; return text, or an array of messages made by system(), user(), assistant()`,
    )
  }
  if (built instanceof Promise) {
    built.catch(() => {})
    return complain('a promise (builders are synchronous: fetch in a tool or before the run)')
  }
  if (!Array.isArray(built)) return complain(built === null ? 'null' : typeof built)
  if (built.length === 0) return complain('no messages')
  // By index: forEach passes over holes.
  for (let i = 0; i < built.length; i++) {
    const message = built[i] as Partial<Message> | null | undefined
    if (typeof message !== 'object' || message === null) return complain(`something that is no message at [${i}]`)
    if (!roles.has(message.role as string))
      return complain(`a message with role ${JSON.stringify(message.role)} at [${i}]`)
    if (typeof message.content !== 'string') return complain(`a message without text at [${i}]`)
  }
  return built as readonly Message[]
}
