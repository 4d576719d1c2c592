// The command `demo`: one workflow, watched.

import process from 'node:process'
import { createRuntime, type Runtime } from '../../index.ts'
import { exitCodeOf, exitCodes, unknownName, type ExitCode } from '../exit-code.ts'
import { canRedraw, hasUnicode, wantsColor } from '../view/terminal.ts'
import { planOf, type BackendPlan } from '../view/view-model.ts'
import { checkReachable, demoBackends } from './backends.ts'
import { chooseTicket } from './choose.ts'
import { listenForInterrupts } from './interrupts.ts'
import { jsonReporter } from './json-reporter.ts'
import { liveReporter } from './live-reporter.ts'
import type { DemoOptions } from './options.ts'
import { showingOf, type Showing } from './parts.ts'
import { plainReporter } from './plain-reporter.ts'
import type { Reporter } from './reporter.ts'
import { supportExample, type Example } from './support.ts'
import { readTicket } from './ticket-file.ts'

/**
 * Runs the demonstration.
 *
 * @throws {CommandError} for what the person can put right
 */
export async function demo(options: DemoOptions): Promise<ExitCode> {
  const { stdin, stdout, env } = process
  const example = supportExample()
  const showing = showingOf(options.part, example.paths)
  const tickets = await ticketsOf(options, example, showing, stdin.isTTY && stdout.isTTY)
  if (tickets === undefined) return exitCodes.interrupted

  using interrupts = listenForInterrupts(process)
  await using runtime = await createRuntime({
    backends: demoBackends(options, example.responder),
    scheduling: { light: { stage: 'fcfs' }, heavy: { stage: options.stagePolicy } },
    memory: { policy: options.memoryPolicy },
    ...(options.seed !== undefined && { seed: options.seed }),
  })
  checkReachable(runtime, options.backend)

  const reporter = reporterOf(options, runtime, showing)
  let exitCode: ExitCode = exitCodes.done
  for (const ticket of tickets) {
    if (interrupts.signal.aborted) return exitCodes.interrupted
    exitCode = await runOne({ runtime, example, options, showing, reporter, ticket, signal: interrupts.signal })
    if (exitCode !== exitCodes.done) break
  }
  return exitCode

  function reporterOf(given: DemoOptions, { clock }: Runtime, { screenTopics }: Showing): Reporter {
    const write = (text: string): void => void stdout.write(text)
    if (given.json) return jsonReporter(write)
    const isTty = stdout.isTTY === true
    const look = {
      color: wantsColor(env, { isTty, noColor: given.noColor }),
      unicode: hasUnicode(env, process.platform),
    }
    if (!canRedraw(env, isTty)) return plainReporter(write, look, isTty ? stdout.columns : undefined)
    return liveReporter({ stream: stdout, clock, look, topics: screenTopics })
  }
}

/** Texts of the tickets to run, one after the other; undefined if the person wants out. */
async function ticketsOf(
  { ticket, sample, json }: DemoOptions,
  { samples }: Example,
  showing: Showing,
  canAsk: boolean,
): Promise<string[] | undefined> {
  if (ticket !== undefined) return [await readTicket(ticket, process.stdin)]
  const byId = (id: string): string => {
    const found = samples.find((candidate) => candidate.id === id)
    if (found !== undefined) return found.text
    const names = samples.map((candidate) => candidate.id)
    throw unknownName('--sample', id, names)
  }
  if (sample !== undefined) return [byId(sample)]
  if (showing.samples.length > 0) return showing.samples.map(byId)
  if (!canAsk || json) return [samples[0]!.text]
  const chosen = await chooseTicket(samples)
  return chosen === undefined ? undefined : [chosen]
}

interface OneRun {
  runtime: Runtime
  example: Example
  options: DemoOptions
  showing: Showing
  reporter: Reporter
  ticket: string
  signal: AbortSignal
}

async function runOne({ runtime, example, options, showing, reporter, ticket, signal }: OneRun): Promise<ExitCode> {
  const { workflow } = example
  const input = { text: ticket }
  const run = runtime.start(workflow, input, {
    signal,
    ...(options.deadlineMs !== undefined && { deadlineMs: options.deadlineMs }),
  })
  reporter.begin({
    plan: {
      workflow: workflow.name,
      ticket,
      ...(showing.note !== undefined && { note: showing.note }),
      stages: planOf(workflow),
      backends: backendPlans(runtime),
    },
    showing,
    input,
    workflow,
  })
  const stop = runtime.subscribe((event) => {
    if (event.runId === run.id) reporter.event(event)
  })
  const outcome = await run.outcome
  stop()
  const { effects, issues } = example.look(outcome)
  reporter.end({ outcome, effects, issues })
  if (signal.aborted) return exitCodes.interrupted
  if (outcome.error !== undefined) return exitCodeOf(outcome.error.code)
  return issues.length === 0 ? exitCodes.done : exitCodes.runFailed
}

function backendPlans(runtime: Runtime): BackendPlan[] {
  return runtime.backends().map(({ name, engine, model, windowRequests }) => ({ name, engine, model, windowRequests }))
}
