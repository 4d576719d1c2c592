// Spawns the real command line.

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const entry = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))

/** What a command wrote, and how it ended. */
export interface Spawned {
  code: number | null
  stdout: string
  stderr: string
}

/** Variables that would change what is tested. */
const neutral = {
  ORLA_BACKEND: '',
  NO_COLOR: '',
  FORCE_COLOR: '',
  OPENAI_API_KEY: '',
  LC_ALL: 'C.UTF-8',
}

/**
 * Runs `orla` with `parameters`.
 *
 * @param options.input - what it reads from standard input; nothing by default
 * @param options.onStdout - hears what is written so far; may send a signal
 */
export function orla(
  parameters: readonly string[],
  options: {
    env?: Record<string, string>
    input?: string | Buffer
    onStdout?: (text: string, kill: (signal: NodeJS.Signals) => void) => void
  } = {},
): Promise<Spawned> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [entry, ...parameters], {
      env: { ...process.env, ...neutral, ...options.env },
    })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
      options.onStdout?.(stdout, (signal) => child.kill(signal))
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    // A command that refuses early does not read to the end.
    child.stdin.on('error', () => {})
    child.stdin.end(options.input ?? '')
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, stdout, stderr }))
  })
}
