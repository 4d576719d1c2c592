// Prefix cache
//
// Owns: which prefixes of tokens are in a KV pool, who uses them, and which idle one goes first.
// Does not own: the size of the pool, or tokens that are not shared yet (simple-model).
// A radix tree over spans: a node is a run of positions of one stream, so a context of 100,000 tokens is a few nodes.
// Invariants
//   P1. A node's parent is in use whenever the node is.
//   P2. liveTokens + idleTokens is the sum of the lengths of all nodes; live are those in use.
//   P3. Eviction takes idle leaves only, the one that was used longest ago first.
//   P4. A match never reaches beyond the common prefix with spans that were inserted.

import { assert } from '../errors.ts'
import type { TokenSpan } from '../schema/message.ts'

/** A place in the tree: the end of a prefix. Held between `use` and `release`. Opaque. */
export interface Prefix {
  readonly node: unknown
}

interface Node {
  key: string
  stream: string
  from: number
  to: number
  parent: Node | undefined
  children: Map<string, Node>
  users: number
  /** Order of the last use; larger is later. */
  usedAt: number
}

/** An idle leaf, as the heap remembers it. Outdated when the node was used since. */
interface Idle {
  node: Node
  usedAt: number
}

const keyOf = (stream: string, from: number): string => `${from}@${stream}`

/** The prefixes that a KV pool holds. */
export class PrefixCache {
  readonly #root: Node = {
    key: '',
    stream: '',
    from: 0,
    to: 0,
    parent: undefined,
    children: new Map(),
    users: 0,
    usedAt: 0,
  }
  #idleLeaves: Idle[] = []
  #nodes = 0
  #order = 0
  #liveTokens = 0
  #idleTokens = 0

  /** Tokens of prefixes in use. */
  get liveTokens(): number {
    return this.#liveTokens
  }

  /** Tokens that may be evicted. */
  get idleTokens(): number {
    return this.#idleTokens
  }

  /**
   * Finds the longest known prefix of `spans` and keeps it from being evicted.
   *
   * @param salt - prefixes are only found under the salt that they were inserted with
   * @returns the prefix, to be released once, its length in tokens, and what of `spans` comes after it
   */
  use(spans: readonly TokenSpan[], salt: string): { prefix: Prefix; tokens: number; rest: TokenSpan[] } {
    const { node, tokens, rest } = this.#walk(this.#root, spans, salt)
    for (let at: Node | undefined = node; at !== undefined; at = at.parent) this.#addUser(at)
    return { prefix: { node }, tokens, rest }
  }

  /**
   * Makes `spans` part of the pool behind `prefix`, and moves the use of `prefix` to their end.
   *
   * @returns the new end, which replaces `prefix`
   */
  extend(prefix: Prefix, spans: readonly TokenSpan[], salt: string): Prefix {
    const start = prefix.node as Node
    const walked = this.#walk(start, spans, salt)
    for (let at: Node | undefined = walked.node; at !== start; at = at.parent) {
      assert(at !== undefined, 'a prefix is not behind its start')
      this.#addUser(at)
    }
    let node = walked.node
    for (const span of walked.rest) {
      const key = this.#childKey(node, span.stream, span.from, salt)
      const child: Node = { ...span, key, parent: node, children: new Map(), users: 1, usedAt: ++this.#order }
      node.children.set(key, child)
      this.#nodes++
      this.#liveTokens += span.to - span.from
      node = child
    }
    return { node }
  }

  /** Ends a use. What nobody uses any more stays in the pool until it is evicted. */
  release(prefix: Prefix): void {
    const order = ++this.#order
    for (let node: Node | undefined = prefix.node as Node; node !== undefined; node = node.parent) {
      node.users--
      node.usedAt = order
      if (node.users > 0 || node === this.#root) continue
      this.#liveTokens -= node.to - node.from
      this.#idleTokens += node.to - node.from
      if (node.children.size === 0) this.#pushIdle(node)
    }
  }

  /** Frees up to `tokens` tokens of idle prefixes, from their ends. Returns how many were freed. */
  evict(tokens: number): number {
    let freed = 0
    while (freed < tokens) {
      const node = this.#popIdle()
      if (node === undefined) break
      const length = Math.min(node.to - node.from, tokens - freed)
      freed += length
      this.#idleTokens -= length
      node.to -= length
      if (node.to > node.from) this.#pushIdle(node)
      else this.#remove(node)
    }
    return freed
  }

  /** Follows `spans` from `start` as far as they are known, and cuts a node in two where they part within it. */
  #walk(start: Node, spans: readonly TokenSpan[], salt: string): { node: Node; tokens: number; rest: TokenSpan[] } {
    let node = start
    let tokens = 0
    for (const [index, span] of spans.entries()) {
      for (let from = span.from; from < span.to;) {
        const child = node.children.get(this.#childKey(node, span.stream, from, salt))
        if (child === undefined) {
          return { node, tokens, rest: [{ stream: span.stream, from, to: span.to }, ...spans.slice(index + 1)] }
        }
        const to = Math.min(child.to, span.to)
        node = to < child.to ? this.#split(child, to) : child
        tokens += to - from
        from = to
      }
    }
    return { node, tokens, rest: [] }
  }

  /** Cuts `node` at position `at`; returns the new upper part. `node` stays the lower one, so that uses stay right. */
  #split(node: Node, at: number): Node {
    const { key, stream, from, parent, users, usedAt } = node
    const upper: Node = { key, stream, from, to: at, parent, children: new Map(), users, usedAt }
    parent?.children.set(key, upper)
    node.key = keyOf(stream, at)
    node.from = at
    node.parent = upper
    upper.children.set(node.key, node)
    this.#nodes++
    return upper
  }

  #childKey(node: Node, stream: string, from: number, salt: string): string {
    return node === this.#root ? `${salt}/${keyOf(stream, from)}` : keyOf(stream, from)
  }

  #addUser(node: Node): void {
    if (node.users === 0 && node !== this.#root) {
      this.#idleTokens -= node.to - node.from
      this.#liveTokens += node.to - node.from
    }
    node.users++
    node.usedAt = ++this.#order
  }

  #remove(node: Node): void {
    const { parent } = node
    parent?.children.delete(node.key)
    this.#nodes--
    if (parent !== undefined && parent !== this.#root && parent.users === 0 && parent.children.size === 0) {
      this.#pushIdle(parent)
    }
  }

  #pushIdle(node: Node): void {
    const heap = this.#idleLeaves
    // Outdated entries are dropped when they are the majority, so the heap stays in proportion to the tree.
    if (heap.length > 2 * this.#nodes + 64) {
      this.#idleLeaves = []
      for (const entry of heap) if (isIdleLeaf(entry)) push(this.#idleLeaves, entry)
    }
    push(this.#idleLeaves, { node, usedAt: node.usedAt })
  }

  #popIdle(): Node | undefined {
    for (;;) {
      const entry = pop(this.#idleLeaves)
      if (entry === undefined || isIdleLeaf(entry)) return entry?.node
    }
  }
}

function isIdleLeaf({ node, usedAt }: Idle): boolean {
  return node.users === 0 && node.children.size === 0 && node.usedAt === usedAt && node.to > node.from
}

function push(heap: Idle[], entry: Idle): void {
  let i = heap.length
  heap.push(entry)
  for (let parent = (i - 1) >> 1; i > 0 && entry.usedAt < heap[parent]!.usedAt; parent = (i - 1) >> 1) {
    heap[i] = heap[parent]!
    i = parent
  }
  heap[i] = entry
}

function pop(heap: Idle[]): Idle | undefined {
  const top = heap[0]
  const last = heap.pop()
  if (last === undefined || heap.length === 0) return top
  let i = 0
  for (let child = 1; child < heap.length; child = 2 * i + 1) {
    if (child + 1 < heap.length && heap[child + 1]!.usedAt < heap[child]!.usedAt) child++
    if (last.usedAt <= heap[child]!.usedAt) break
    heap[i] = heap[child]!
    i = child
  }
  heap[i] = last
  return top
}
