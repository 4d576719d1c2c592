// Ctrl-C: once stops the run and lets it say how far it came, twice ends at once.

import { exitCodes } from '../exit-code.ts'

/** What is needed of a process. */
export interface SignalSource {
  on(signal: 'SIGINT' | 'SIGTERM', listener: () => void): unknown
  off(signal: 'SIGINT' | 'SIGTERM', listener: () => void): unknown
  exit(code: number): unknown
}

/** Interrupts as they stand. */
export interface Interrupts extends Disposable {
  /** Aborted by the first interrupt. */
  readonly signal: AbortSignal
}

/** Listens for interrupts until disposed of. */
export function listenForInterrupts(source: SignalSource): Interrupts {
  const controller = new AbortController()
  const onSignal = (): void => {
    if (controller.signal.aborted) source.exit(exitCodes.interrupted)
    else controller.abort(new Error('interrupted'))
  }
  source.on('SIGINT', onSignal)
  source.on('SIGTERM', onSignal)
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      source.off('SIGINT', onSignal)
      source.off('SIGTERM', onSignal)
    },
  }
}
