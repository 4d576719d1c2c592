// The commands, their options and their help. Loads a command's code only when that command runs.

import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { demoOptions, type DemoFlags } from './demo/options.ts'
import { exitCodes, explain, type ExitCode } from './exit-code.ts'
import { addDoctorCommand } from './doctor/register.ts'
import { addTestbedCommands } from './testbed/commands.ts'
import { sanitize } from './view/sanitize.ts'

/** The package's own description, at the root of the source tree and of the built one. */
const packageUrl = new URL(
  import.meta.url.endsWith('.ts') ? '../../package.json' : '../../../package.json',
  import.meta.url,
)

const demoHelp = `
Examples:
  orla demo                                  a sample ticket; on a terminal it asks which
  orla demo --sample outage                  another sample
  echo "My parcel is lost" | orla demo --ticket -
  orla demo --json | jq .type                one JSON object a line
  orla demo --part 2                         only what shows scheduling
  orla demo --light-url http://127.0.0.1:8000 --light-model Qwen/Qwen3-4B \\
            --heavy-url http://127.0.0.1:8001 --heavy-model Qwen/Qwen3-8B
  orla demo --gguf qwen3-4b.gguf             no server: one model file, run by this program

Environment:
  ORLA_BACKEND        sim (default), openai, vllm, sglang, ollama or llamacpp
  OPENAI_API_KEY      sent to the servers of --light-url and --heavy-url, if set, with ORLA_BACKEND=openai only
  NO_COLOR, FORCE_COLOR, TERM=dumb, LC_ALL, LC_CTYPE, LANG   what the terminal can show

Exit codes:
  0 done, 1 the run failed, 2 usage, 3 invalid definition or option, 4 a backend does not answer,
  5 deadline, 70 a bug, 130 interrupted
`

const visualizeHelp = `
Examples:
  orla visualize --machine workflow                       Mermaid, for Markdown
  orla visualize --machine backend --format svg --out backend.svg
  orla visualize --workflow support --format json | jq .edges
`

/**
 * Runs a command line. Never throws.
 *
 * @param argv - arguments without node and script
 */
export async function main(argv: readonly string[]): Promise<ExitCode> {
  let exitCode: ExitCode = exitCodes.done
  // Whoever reads only the beginning of what is written has seen enough.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(exitCodes.done)
  })
  const program = new Command('orla')
    .description('Runs LLM workflows: maps stages to backends, schedules them, and manages their KV cache.')
    .version((JSON.parse(readFileSync(packageUrl, 'utf8')) as { version: string }).version)
    .exitOverride()

  program
    .command('demo')
    .description('run the customer support workflow and watch it')
    .option('--ticket <file>', 'ticket to handle: a text file, or - for standard input')
    .option('--sample <id>', 'sample ticket to handle')
    .option('--json', 'print one JSON object for each transition, and the outcome last')
    .option('--part <number>', 'show one part: 1 mapping, 2 scheduling, 3 context and cache')
    .option('--stage-policy <name>', 'which stage the heavy backend serves next: fcfs, priority (default) or sjf')
    .option('--memory-policy <name>', 'who manages the KV caches: lru (default, the engines), paper, ...')
    .option('--light-url <url>', 'OpenAI-compatible server of the light model')
    .option('--heavy-url <url>', 'OpenAI-compatible server of the heavy model')
    .option('--light-model <name>', 'light model (default: qwen3-4b)')
    .option('--heavy-model <name>', 'heavy model (default: qwen3-8b)')
    .option('--gguf <file>', 'run this model file as both models (needs the package node-llama-cpp)')
    .option('--seed <number>', 'seed of everything that is left to chance')
    .option('--deadline-ms <number>', 'cancel the run after so many milliseconds')
    .option('--no-color', 'no colours')
    .addHelpText('after', demoHelp)
    .action(async (flags: DemoFlags) => {
      const options = demoOptions(flags, process.env)
      const { demo } = await import('./demo/command.ts')
      exitCode = await demo(options)
    })

  program
    .command('visualize')
    .description('draw a state machine of the runtime, or the DAG of a workflow')
    .option('--machine <name>', 'state machine to draw: workflow, stage or backend')
    .option('--workflow <name>', 'workflow to draw: support')
    .option('--format <format>', 'mermaid (default), svg or json')
    .option('--out <file>', 'write to a file instead of standard output')
    .addHelpText('after', visualizeHelp)
    .action(async (flags: { machine?: string; workflow?: string; format?: string; out?: string }) => {
      const { visualize } = await import('./visualize.ts')
      await visualize(flags)
    })

  addTestbedCommands(program, (code) => (exitCode = code))
  addDoctorCommand(program, (code) => (exitCode = code))

  try {
    await program.parseAsync(argv, { from: 'user' })
    return exitCode
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.done : exitCodes.usage
    const { message, exitCode: code } = explain(error)
    process.stderr.write(`orla: ${sanitize(message)}\n`)
    return code
  }
}
