// Sockets to one engine
//
// Owns: undici pools of a few sockets each, and which of them have a socket without a request.
// Does not own: what is sent and heard.
// undici's Pool looks at its clients one after the other until it finds a free one, for every request: 9 us with 512
// sockets, 70 with 10,000 while nothing else happens, and several times that once they do not fit into a cache. Ten
// thousand streams held up the loop for seconds. Here it looks at those of one group.
// Invariants
//   S1. There are never more sockets than `connections`.
//   S2. A request waits only while every socket has one; requests that wait go in order.

import { errors, Pool, type Dispatcher } from 'undici'

/** Sockets of a group. */
const groupSockets = 32

/** A request that wants a socket. */
export interface SocketUser extends Dispatcher.DispatchHandler {
  /** The group that it went to. Set by {@link Sockets}. */
  group: Pool | undefined
  /** It could not be sent. */
  refused(error: Error): void
}

/** Sockets to one origin. */
export class Sockets {
  readonly #origin: string
  readonly #options: Pool.Options
  readonly #groups: Pool[] = []
  /** The group of each socket without a request. The last one used comes first: it is the one least likely to be closed. */
  readonly #free: Pool[] = []
  /** What waits for a socket, in order. */
  readonly #waiting = new Map<SocketUser, Dispatcher.DispatchOptions>()
  /** Sockets that belong to no group yet. */
  #left: number
  #closed = false

  /** @param connections - sockets at most, at least 1 */
  constructor(origin: string, connections: number, options: Pool.Options) {
    this.#origin = origin
    this.#options = options
    this.#left = connections
  }

  /** Sends a request as soon as a socket is free. `done` must be called when undici is done with it. */
  dispatch(options: Dispatcher.DispatchOptions, user: SocketUser): void {
    if (this.#closed) return user.refused(new errors.ClientDestroyedError())
    const group = this.#free.pop() ?? this.#open()
    if (group === undefined) this.#waiting.set(user, options)
    else this.#send(group, options, user)
  }

  /** The request is over: its socket is free. The second call does nothing. */
  done(user: SocketUser): void {
    const { group } = user
    if (group === undefined) return
    user.group = undefined
    if (this.#closed) return
    for (const [next, options] of this.#waiting) {
      this.#waiting.delete(next)
      return this.#send(group, options, next)
    }
    this.#free.push(group)
  }

  /** Takes a request out that waits. */
  withdraw(user: SocketUser): void {
    this.#waiting.delete(user)
  }

  /** Closes all sockets. Requests under way fail, and so do those that wait. */
  async destroy(): Promise<void> {
    this.#closed = true
    const waiting = [...this.#waiting.keys()]
    this.#waiting.clear()
    for (const user of waiting) user.refused(new errors.ClientDestroyedError())
    await Promise.all(this.#groups.map((group) => group.destroy()))
  }

  #send(group: Pool, options: Dispatcher.DispatchOptions, user: SocketUser): void {
    user.group = group
    group.dispatch(options, user)
  }

  /** A place in a group that was not there before, if there may be one. */
  #open(): Pool | undefined {
    if (this.#left === 0) return undefined
    const connections = Math.min(groupSockets, this.#left)
    this.#left -= connections
    const group = new Pool(this.#origin, { ...this.#options, connections })
    this.#groups.push(group)
    for (let i = 1; i < connections; i++) this.#free.push(group)
    return group
  }
}
