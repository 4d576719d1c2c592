// `doctor`: its options and its help. Loads nothing of what it does.

import type { Command } from 'commander'
import type { ExitCode } from '../exit-code.ts'

/** Flags of `doctor` as the command line gives them: text, unchecked. */
export interface DoctorFlags {
  url?: string[]
  timeout?: string
  json?: boolean
}

const doctorHelp = `
Looks at the usual ports of this machine: vLLM 8000 8001, SGLang 30000 30001, Ollama 11434, llama-server 8080 8081 9931,
LM Studio 1234. It sends no prompts and no keys.

Examples:
  orla doctor
  orla doctor --url http://gpu-box:8000 --timeout 2000
  orla doctor --json | jq '.engines[].engine'

Exit codes:
  0 done, 2 usage, 3 an address that is no URL, 4 nothing usable at an address given with --url
`

/**
 * Adds `doctor` to a program.
 *
 * @param done - takes the exit code
 */
export function addDoctorCommand(program: Command, done: (exitCode: ExitCode) => void): void {
  program
    .command('doctor')
    .description('find engines on this machine, and say what each can and cannot do')
    .option('--url <url...>', 'look here as well')
    .option('--timeout <ms>', 'wait so long for an answer, 50 to 60000 (default: 1000)')
    .option('--json', 'print one JSON object')
    .addHelpText('after', doctorHelp)
    .action(async (flags: DoctorFlags) => {
      const { doctor } = await import('./doctor.ts')
      done(await doctor(flags))
    })
}
