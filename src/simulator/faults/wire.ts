// A response below HTTP's rules
//
// Owns: the socket of one request whose answer is to be broken. Node's own response object is not used any more.
// Invariants
//   W1. A connection that was answered this way is never used for a second request.
//   W2. Nothing is written after the connection has gone.

import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** How a body says where it ends: by chunks, by a length, by the end of the connection. */
export type Framing = 'chunked' | 'close' | number

/** Bytes that an endless answer writes at once. */
const endlessChunkBytes = 64 * 1024

/** Writes what HTTP forbids. */
export class Wire {
  readonly #socket: Socket | null
  #chunked = false

  constructor(response: ServerResponse) {
    this.#socket = response.socket
    this.#socket?.on('error', () => {})
  }

  /** True once the connection has gone. */
  get gone(): boolean {
    return this.#socket === null || this.#socket.destroyed || this.#socket.writableEnded
  }

  /** Writes bytes as they are. False while the client is behind. */
  raw(bytes: string | Uint8Array): boolean {
    return this.gone || this.#socket!.write(bytes)
  }

  head(status: number, headers: Readonly<Record<string, string>>, framing: Framing): void {
    this.#chunked = framing === 'chunked'
    const all: Record<string, string> = { ...headers, connection: 'close' }
    if (framing === 'chunked') all['transfer-encoding'] = 'chunked'
    else if (framing !== 'close') all['content-length'] = String(framing)
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
    this.raw(`HTTP/1.1 ${status} Fault\r\n${lines.join('')}\r\n`)
  }

  /** Writes a piece of the body. */
  send(bytes: string | Uint8Array): boolean {
    const data = Buffer.from(bytes as string)
    if (!this.#chunked || data.length === 0) return this.raw(data)
    return this.raw(Buffer.concat([Buffer.from(`${data.length.toString(16)}\r\n`), data, Buffer.from('\r\n')]))
  }

  /** Ends the body as its framing says, and then the connection. */
  finish(): void {
    if (this.#chunked) this.raw('0\r\n\r\n')
    this.fin()
  }

  /** A whole response. */
  reply(status: number, headers: Readonly<Record<string, string>>, body: string): void {
    this.head(status, headers, Buffer.byteLength(body))
    this.raw(body)
    this.fin()
  }

  /** Ends the connection politely. */
  fin(): void {
    if (!this.gone) this.#socket!.end()
  }

  /** Breaks the connection, after what was written has left. */
  reset(): void {
    if (!this.gone) this.#socket!.write('', () => this.#socket!.resetAndDestroy())
  }

  onDrain(listener: () => void): void {
    this.#socket?.on('drain', listener)
  }

  /** Sends `piece` again and again, as fast as the client reads, `bytesMax` in all. */
  flood(piece: string, bytesMax = Infinity): void {
    const chunk = piece.repeat(Math.max(1, Math.floor(endlessChunkBytes / piece.length)))
    let bytes = 0
    const pump = (): void => {
      while (!this.gone && bytes < bytesMax) {
        bytes += chunk.length
        if (!this.send(chunk)) return
      }
    }
    this.onDrain(pump)
    pump()
  }
}
