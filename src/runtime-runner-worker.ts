// Entry file of the runner threads. No logic here: coverage does not see it.

import { workerData } from 'node:worker_threads'
import { serveRunner } from './runtime-runner.ts'
import type { RunnerPorts } from './runtime-runner-protocol.ts'

serveRunner(workerData as RunnerPorts)
