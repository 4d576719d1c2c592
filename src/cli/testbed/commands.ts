// `replay`, `sim` and `sim-test`: their options and their help. Loads nothing of what they do.

import type { Command } from 'commander'
import type { ExitCode } from '../exit-code.ts'
import type { ReplayFlags } from './replay.ts'
import type { SimFlags } from './sim.ts'
import type { SimTestFlags } from './sim-test.ts'

const replayHelp = `
Files (plain or gzip, told by their content):
  Azure CSV (TIMESTAMP,ContextTokens,GeneratedTokens), Mooncake JSONL, agentic Mooncake JSONL (Dynamo),
  session CSV (session,turn,sub,t_s,in_tokens,out_tokens,reused_prefix_tokens,think_s,api_s), and what --record writes

Runs begin at the times of the file where it has some, else 16 are live at once; --concurrency and --rate change that.
A run that outgrows the model's context ends at that turn and counts as truncated: runs = completed + failed + truncated.

Examples:
  orla replay --preset claude-code --sessions 50 --concurrency 64
  orla replay sessions.csv.gz --context-scale 0.5 --max-wait 10 --json
  orla replay --preset chat --rate 20 --gpu h100 --model qwen3-8b --engine sglang
  orla replay --preset swe-agent --record agents.jsonl && orla replay agents.jsonl

Exit codes:
  0 done, 1 a run failed, 2 usage, 3 a file that cannot be understood, 70 a bug, 130 interrupted
`

const simHelp = `
Serves POST /v1/chat/completions, GET /v1/models and GET /health at 127.0.0.1 until Ctrl-C.

Examples:
  orla sim --port 8000
  orla sim --port 8000 --model qwen3-coder-30b --gpu h200 --speed 10
`

const simTestHelp = `
Every seed draws its own backends, workflows, tools, faults and changes at work, plays them in virtual time, and checks
every event: nothing lost, nothing twice, no false result, no leak, and once the faults end, everything ends.

Faults (default: all of them, a selection drawn for each seed):
  refuse   the engine refuses: no connection, an error status, a prompt too long
  cut      answers end in the middle
  stall    answers never come, or stop for ever after some tokens
  slow     answers begin late
  babble   the driver breaks its contract: throws, lies, speaks after its end
  cache    cache commands fail, hang or lie
  tool     tools throw, hang, take long, return what is no JSON
  mapper   mappers throw, take long, name backends that there are not
  cancel   callers cancel
  change   backends are reconfigured, drained, replaced, added and removed at work
  delay    messages between runs and the actors that they share take their time

Examples:
  orla sim-test --seeds 10000
  orla sim-test --seed 4711 --seeds 1
  orla sim-test --faults cancel,delay --seeds 500

Exit codes:
  0 every seed passed, 1 a seed failed (it is printed), 2 usage, 70 a bug, 130 interrupted
`

/**
 * Adds `replay`, `sim` and `sim-test` to a program.
 *
 * @param done - takes the exit code of the command that ran
 */
export function addTestbedCommands(program: Command, done: (exitCode: ExitCode) => void): void {
  program
    .command('replay')
    .description('replay a workload through the runtime on a simulated engine, in virtual time')
    .argument('[file]', 'workload file')
    .option('--preset <name>', 'workload made from published statistics instead of a file')
    .option('--sessions <number>', 'runs to replay (a preset makes as many)')
    .option('--concurrency <number>', 'closed loop: so many runs are live at once')
    .option('--rate <number>', 'open loop: runs a second')
    .option('--burstiness <number>', 'shape of the gaps with --rate: 1 (default) is Poisson, less comes in bursts')
    .option('--gpu <name>', 'GPU of the engine (default: h200)')
    .option('--model <name>', 'model of the engine (default: qwen3-coder-30b)')
    .option('--engine <name>', 'vllm (default) or sglang')
    .option('--context-scale <factor>', 'factor on every token count (default: 1)')
    .option('--kv-scale <factor>', "factor on the engine's KV pool (default: 1)")
    .option('--stage-policy <name>', 'policy among stage classes: fcfs (default), critical-path, fair, ...')
    .option('--request-policy <name>', 'policy among the requests of a class: fcfs (default), las, sjf, ...')
    .option('--memory-policy <name>', 'who manages the KV cache: lru (default, the engine), paper, price, ...')
    .option('--window <number>', 'requests in the engine at once (default: as many as it runs)')
    .option('--max-turns <number>', 'turns of a session at most')
    .option('--max-wait <seconds>', 'longest wait between two turns')
    .option('--dag-context <mode>', 'what a step of the preset dag-math sees: append (default) or parents')
    .option('--block-tokens <number>', 'tokens of a hash block in a trace file (default: 512)')
    .option('--seed <number>', 'seed of everything that is left to chance (default: 1)')
    .option('--record <file>', 'write what was replayed to a file that can be replayed')
    .option('--json', 'print the summary as one line of JSON')
    .addHelpText('after', replayHelp)
    .action(async (file: string | undefined, flags: ReplayFlags) => {
      const { replayCommand } = await import('./replay.ts')
      done(await replayCommand(file, flags))
    })

  program
    .command('sim')
    .description('serve a simulated engine to any OpenAI client')
    .option('--port <number>', 'port to listen on; 0 takes a free one (default: 8000)')
    .option('--model <name>', 'model (default: qwen3-8b)')
    .option('--gpu <name>', 'GPU (default: h100)')
    .option('--engine <name>', 'vllm (default) or sglang')
    .option('--speed <factor>', 'how many times faster than real its time passes (default: 1)')
    .option('--seed <number>', 'seed of its answers')
    .addHelpText('after', simHelp)
    .action(async (flags: SimFlags) => {
      const { simCommand } = await import('./sim.ts')
      done(await simCommand(flags))
    })

  program
    .command('sim-test')
    .description('simulate whole runtimes with faults, seed after seed, and look for what breaks')
    .option('--seeds <number>', 'how many seeds (default: 1000)')
    .option('--seed <number>', 'the first seed (default: 1)')
    .option('--faults <kinds>', 'kinds of faults to draw from, with commas; "none" for none (default: all)')
    .option('--json', 'print the report as one line of JSON')
    .addHelpText('after', simTestHelp)
    .action(async (flags: SimTestFlags) => {
      const { simTestCommand } = await import('./sim-test.ts')
      done(await simTestCommand(flags))
    })
}
