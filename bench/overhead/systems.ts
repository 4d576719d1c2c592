// The systems that are compared: how each is loaded, and which package it is.

import { openOrla } from './orla.ts'
import type { System } from './shape.ts'

/** A system by name. */
export interface SystemEntry {
  /** What it is, for people. */
  about: string
  /** Its package, in `bench/peers` or in the project. Absent: this project, or no package at all. */
  package?: string
  /** Absent in `bench/peers`. */
  peer: boolean
  load(): Promise<System>
}

const orla = (mapped: boolean) => () =>
  Promise.resolve<System>({
    open: (shape, call, windowRequests) => openOrla(shape, call, { mapped, windowRequests }),
  })

/** Peers are JavaScript: the project's types do not depend on what is installed beside it. */
const peer = (name: string) => async (): Promise<System> => {
  const module = (await import(new URL(`../peers/${name}.js`, import.meta.url).href)) as { system: System }
  return module.system
}

/** All systems, in the order of the table. */
export const systems: Readonly<Record<string, SystemEntry>> = {
  orla: { about: 'mapper, two policies, ledger', peer: false, load: orla(true) },
  'orla-explicit': { about: 'explicit mapping, first come first served, ledger', peer: false, load: orla(false) },
  langgraph: { about: 'no checkpointer', package: '@langchain/langgraph', peer: true, load: peer('langgraph') },
  mastra: { about: 'no storage', package: '@mastra/core', peer: true, load: peer('mastra') },
  voltagent: { about: 'default memory', package: '@voltagent/core', peer: true, load: peer('voltagent') },
  xstate: {
    about: 'a machine a run, an invoked promise a stage',
    package: 'xstate',
    peer: false,
    load: async () => (await import('./xstate.ts')).system,
  },
  'p-queue': { about: 'one queue, 64 at a time', package: 'p-queue', peer: true, load: peer('p-queue') },
  promises: {
    about: 'the floor',
    peer: false,
    load: async () => (await import('./promises.ts')).system,
  },
}
