// How the command line ends: exit codes, and the errors of its own.

import type { ErrorCode } from '../index.ts'
import { nearest } from '../nearest.ts'

/** Exit codes of every command. */
export const exitCodes = {
  done: 0,
  /** The run failed. */
  runFailed: 1,
  /** The command line, or a file it names, is wrong. */
  usage: 2,
  /** A definition or an option of the runtime is wrong. */
  invalid: 3,
  /** A backend does not answer. */
  unreachable: 4,
  /** A deadline passed. */
  deadline: 5,
  /** A bug of ours (BSD's EX_SOFTWARE). */
  bug: 70,
  /** Ctrl-C: 128 and the number of SIGINT. */
  interrupted: 130,
} as const

/** How the process ends. */
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes]

/** Something that the person at the keyboard can put right. Its message is all that is shown. */
export class CommandError extends Error {
  readonly exitCode: ExitCode
  constructor(message: string, exitCode: ExitCode = exitCodes.usage) {
    super(message)
    this.name = 'CommandError'
    this.exitCode = exitCode
  }
}

/** The exit code of a run that ended with this error code, or of a command that threw it. */
export function exitCodeOf(code: ErrorCode): ExitCode {
  switch (code) {
    case 'ORLA_INPUT':
      return exitCodes.usage
    case 'ORLA_OPTIONS':
    case 'ORLA_WORKFLOW_INVALID':
    case 'ORLA_MAPPING_INCOMPATIBLE':
      return exitCodes.invalid
    case 'ORLA_BACKEND_UNREACHABLE':
    case 'ORLA_BACKEND_OPEN':
      return exitCodes.unreachable
    case 'ORLA_DEADLINE':
      return exitCodes.deadline
    case 'ORLA_INVARIANT':
      return exitCodes.bug
    default:
      return exitCodes.runFailed
  }
}

/** True for errors of the package, told by their code: two copies of it may be loaded. */
function hasCode(error: unknown): error is { code: ErrorCode; message: string } {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code.startsWith('ORLA_')
}

/** Says what a thrown value means for the person, and how the process ends. */
export function explain(error: unknown): { message: string; exitCode: ExitCode } {
  if (error instanceof CommandError) return { message: error.message, exitCode: error.exitCode }
  if (hasCode(error)) return { message: `${error.message} [${error.code}]`, exitCode: exitCodeOf(error.code) }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return { message: `unexpected error (this is a bug in orla, please report it)\n${text}`, exitCode: exitCodes.bug }
}

/**
 * An error for a name that is none of `names`, with the list and the nearest.
 *
 * @param what - what is named: `ORLA_BACKEND`, `--sample`
 */
export function unknownName(what: string, given: string, names: readonly string[]): CommandError {
  const near = nearest(given, names)
  const shown = given.length > 60 ? `${given.slice(0, 60)}...` : given
  const hint = near === undefined ? '' : ` (did you mean "${near}"?)`
  return new CommandError(`${what}: there is no "${shown}"${hint}; there are: ${names.join(', ')}`)
}
