// A logger whose lines go to another thread.

import type { Logger } from './log.ts'

/** A line of a log, as plain data. */
export interface LogLine {
  type: 'log'
  level: keyof Logger
  details: object
  message: string
}

/** Makes a logger that sends its lines. Lines for debugging stay where they are. */
export function threadLog(send: (line: LogLine) => void): Logger {
  const say =
    (level: keyof Logger) =>
    (details: object, message: string): void =>
      send({ type: 'log', level, details: plainDetails(details), message })
  return { debug() {}, info: say('info'), warn: say('warn'), error: say('error') }
}

/** Log details as plain data: errors have none that cloning would keep. */
function plainDetails(details: object): object {
  return Object.fromEntries(
    Object.entries(details).map(([key, value]) => [
      key,
      value instanceof Error ? { name: value.name, message: value.message, stack: value.stack } : String(value),
    ]),
  )
}
