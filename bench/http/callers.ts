// The callers that are compared: how each is loaded, and which package it is.

import { instruction, question, type CallerKind } from './caller.ts'

/** A caller by name. */
export interface CallerEntry {
  about: string
  /** Whether the engine is asked to stream. Where it is not, there is nothing to pace. */
  streams: boolean
  watches: boolean
  package?: string
  peer: boolean
  load(): Promise<CallerKind>
}

type Kinds = (messages: () => object[]) => Record<'streaming' | 'whole', CallerKind>

const messages = (): object[] => [
  { role: 'system', content: instruction },
  { role: 'user', content: question() },
]

const peer = (file: string, kind: 'streaming' | 'whole') => async (): Promise<CallerKind> => {
  const module = (await import(new URL(`../peers/${file}.js`, import.meta.url).href)) as { kinds: Kinds }
  return module.kinds(messages)[kind]
}

const orla = async (): Promise<CallerKind> => (await import('./orla.ts')).orla

/** All callers, in the order of the table. Ratios are to the first. */
export const callers: Readonly<Record<string, CallerEntry>> = {
  undici: {
    about: 'by hand: dispatch, eventsource-parser, JSON of each event',
    streams: true,
    watches: true,
    package: 'undici',
    peer: false,
    load: async () => (await import('./undici.ts')).streaming,
  },
  'orla, watched': { about: 'every piece read from run.events', streams: true, watches: true, peer: false, load: orla },
  'orla, awaited': { about: 'run.result; the engine streams', streams: true, watches: false, peer: false, load: orla },
  openai: {
    about: 'stream: true',
    streams: true,
    watches: true,
    package: 'openai',
    peer: true,
    load: peer('openai-client', 'streaming'),
  },
  ai: {
    about: 'streamText',
    streams: true,
    watches: true,
    package: 'ai',
    peer: true,
    load: peer('ai-sdk', 'streaming'),
  },
  'undici, whole': {
    about: 'no stream',
    streams: false,
    watches: false,
    package: 'undici',
    peer: false,
    load: async () => (await import('./undici.ts')).whole,
  },
  'openai, whole': {
    about: 'no stream',
    streams: false,
    watches: false,
    package: 'openai',
    peer: true,
    load: peer('openai-client', 'whole'),
  },
  'ai, whole': {
    about: 'generateText',
    streams: false,
    watches: false,
    package: 'ai',
    peer: true,
    load: peer('ai-sdk', 'whole'),
  },
}
