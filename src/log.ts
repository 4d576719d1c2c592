// Logging: pino, with secrets redacted by value as well as by path.

import pino from 'pino'
import { OrlaError } from './errors.ts'

/** What the package logs to. A pino logger fits. */
export interface Logger {
  debug(details: object, message: string): void
  info(details: object, message: string): void
  warn(details: object, message: string): void
  error(details: object, message: string): void
}

/** Says nothing. The default of an embedded runtime: a library does not write to its host's output unasked. */
export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} }

/** Secrets shorter than this are not filtered by value: they would blank ordinary words. */
const secretLengthMin = 6

/** Replaces every known secret in `text`, also as URLs and JSON write it. */
export function redact(text: string, secrets: Iterable<string>): string {
  const forms = new Set<string>()
  for (const secret of secrets) {
    if (secret.length < secretLengthMin) continue
    // Lone surrogates cannot be URL-encoded.
    forms.add(secret).add(encodeURIComponent(secret.toWellFormed())).add(JSON.stringify(secret).slice(1, -1))
  }
  let result = text
  // The longest first: a secret may begin with another.
  for (const form of [...forms].sort((a, b) => b.length - a.length)) result = result.replaceAll(form, '[redacted]')
  return result
}

/** Errors as plain data. JSON.stringify sees nothing in most, and pino's redaction copies only what it would see. */
function showError(error: unknown): unknown {
  if (error instanceof OrlaError) return error.toJSON()
  if (!(error instanceof Error)) return error
  return { name: error.name, message: error.message, stack: error.stack }
}

/**
 * A pino logger that writes JSON lines.
 *
 * Redaction by path alone lets secrets through in error messages and URLs, so each finished line is filtered by value.
 *
 * @param options.level - `debug` | `info` | `warn` | `error` | `silent`
 * @param options.secrets - values that must never appear
 * @param options.write - where lines go, default stderr
 */
export function createLogger(
  options: { level?: string; secrets?: Iterable<string>; write?: (line: string) => void } = {},
): Logger {
  const secrets = [...(options.secrets ?? [])]
  const write = options.write ?? ((line: string) => void process.stderr.write(line))
  return pino(
    {
      level: options.level ?? 'info',
      base: null,
      redact: ['authorization', '*.authorization', 'apiKey', '*.apiKey'],
      serializers: { error: showError },
    },
    { write: (line: string) => write(redact(line, secrets)) },
  )
}
