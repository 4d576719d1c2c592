// What the bench of threads runs: backends that answer at once, so that what is left is the runtime.

import { user, workflow } from '../../src/index.ts'
import { instant } from '../lib/instant.ts'

export const backends = { main: instant({ windowRequests: 10_000, queueCapacity: 100_000 }) }

/** Ten stages, one after the other, with prompts of a line. */
export const chain = workflow('chain')
  .stage('s0', { backend: 'main', prompt: () => [user('go')] })
  .stage('s1', { after: ['s0'], backend: 'main', prompt: () => [user('go')] })
  .stage('s2', { after: ['s1'], backend: 'main', prompt: () => [user('go')] })
  .stage('s3', { after: ['s2'], backend: 'main', prompt: () => [user('go')] })
  .stage('s4', { after: ['s3'], backend: 'main', prompt: () => [user('go')] })
  .stage('s5', { after: ['s4'], backend: 'main', prompt: () => [user('go')] })
  .stage('s6', { after: ['s5'], backend: 'main', prompt: () => [user('go')] })
  .stage('s7', { after: ['s6'], backend: 'main', prompt: () => [user('go')] })
  .stage('s8', { after: ['s7'], backend: 'main', prompt: () => [user('go')] })
  .stage('s9', { after: ['s8'], backend: 'main', prompt: () => [user('go')] })

let made = 0
const words = 'the of a queue turn slot window prefix stage model engine token prompt cache run order'.split(' ')

/** A text of 100 kB that no thread has met before. */
function text(): string {
  let seed = ++made
  let all = ''
  while (all.length < 100_000) {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
    all += `${words[(seed >>> 16) % words.length]!}${seed % 97} `
  }
  return all
}

/** One stage with a prompt of 100 kB to be counted. */
export const large = workflow('large').stage('s', { backend: 'main', prompt: () => [user(text())] })
