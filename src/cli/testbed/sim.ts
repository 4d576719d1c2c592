// `orla sim`: a simulated engine for any OpenAI client, until Ctrl-C.

import { engineNames, gpuNames, modelNameOf, modelNames, serveSimulated } from '../../testing.ts'
import { exitCodes, unknownName, type ExitCode } from '../exit-code.ts'
import { count, duration } from '../view/format.ts'
import { nameFlag, numberFlag } from './flags.ts'

/** Flags of `sim` as the command line gives them: text, unchecked. */
export interface SimFlags {
  port?: string
  model?: string
  gpu?: string
  engine?: string
  speed?: string
  seed?: string
}

const portDefault = 8_000

/** Serves an engine until the process is asked to stop. */
export async function simCommand(flags: SimFlags): Promise<ExitCode> {
  const { model } = flags
  if (model !== undefined && modelNameOf(model) === undefined) throw unknownName('--model', model, modelNames)
  const gpu = nameFlag('--gpu', flags.gpu, gpuNames)
  const engine = nameFlag('--engine', flags.engine, engineNames)
  const speed = numberFlag('--speed', flags.speed, { above: true, max: 1e6 })
  const seed = numberFlag('--seed', flags.seed, { whole: true, max: 2 ** 31 - 1 })
  const served = await serveSimulated({
    port: numberFlag('--port', flags.port, { whole: true, max: 65_535 }) ?? portDefault,
    ...(model !== undefined && { model }),
    ...(gpu !== undefined && { gpu }),
    ...(engine !== undefined && { engine }),
    ...(speed !== undefined && { speed }),
    ...(seed !== undefined && { seed }),
  })
  console.log(`${served.url}/v1 serves ${served.model} (simulated); Ctrl-C stops it`)
  await new Promise<void>((resolve) => {
    process.once('SIGINT', resolve)
    process.once('SIGTERM', resolve)
  })
  const { busyMs, promptTokens, cachedTokens, outputTokens } = served.stats()
  await served.close()
  const figures = `${count(promptTokens)} prompt tokens (${count(cachedTokens)} cached), ${count(outputTokens)} output tokens`
  console.log(`\n${figures}, busy ${duration(busyMs)} of the engine's time`)
  return exitCodes.done
}
