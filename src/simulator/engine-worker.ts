// Thread entry of the embedded engines. No logic: coverage cannot see code that runs in a worker.

import { parentPort } from 'node:worker_threads'
import { realClock } from '../clock.ts'
import { hostEngines } from './engine-host.ts'

if (parentPort !== null) hostEngines(parentPort, realClock())
