// Entry file of the threads of single actors. No logic here: coverage does not see it.

import { workerData } from 'node:worker_threads'
import { serveActor, type ActorBoot } from './runtime-actor-host.ts'

await serveActor(workerData as ActorBoot)
