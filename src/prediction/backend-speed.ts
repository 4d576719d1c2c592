// How fast backends are
//
// Owns: for each backend, what a token of a prompt and a token of an answer took lately.
// Does not own: what waits there, or who uses a prediction.
// Service is time at the engine, from grant to release: under load it grows, and what is predicted with it.

import { ServiceFit, type Speed } from './service-fit.ts'

/** Speeds of backends, learned from their answers. */
export class BackendSpeeds {
  readonly #fits = new Map<string, ServiceFit>()

  /** A turn was answered. */
  answered(backend: string, uncachedTokens: number, outputTokens: number, serviceMs: number): void {
    let fit = this.#fits.get(backend)
    if (fit === undefined) this.#fits.set(backend, (fit = new ServiceFit()))
    fit.add(uncachedTokens, outputTokens, serviceMs)
  }

  /** Speed of a backend; undefined before its first answer. */
  of(backend: string): Speed | undefined {
    return this.#fits.get(backend)?.speed
  }

  /** A backend is gone, or has another engine. */
  forget(backend: string): void {
    this.#fits.delete(backend)
  }
}
