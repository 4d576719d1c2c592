// Prefix cache
//
// Owns: the KV pool of one engine, in blocks, and the tree of prefixes that fill it.
// Does not own: sequences; they hold a place in the tree (PrefixLease) and pay for it.
//
// The tree is a radix tree over runs of tokens: a node is one run on one path, however long, so a context of 100,000
// tokens is as many nodes as it has messages. Blocks are not objects. A full block belongs to the node in which it
// ends; a node from depth s to depth e therefore holds floor(e/B) - floor(s/B) blocks, the sum along a path is
// floor(depth/B), and paths that part inside a block each have a block of their own, as in an engine that hashes
// chains of blocks. What a sequence holds beyond its place in the tree (a block begun but not full, tokens it has
// decoded) are private blocks.
// Invariants
//   K1. live + cached + free = total, and none is negative.
//   K2. live = blocks of nodes that some lease holds + private blocks; cached = blocks of all other nodes.
//   K3. A lease holds every node from the root to its place; its place is the end of a node.
//   K4. Only leaves that nobody holds are evicted, least recently released first, from their ends.
//   K5. A hit is a multiple of the block, at most the tokens asked for, and only of tokens that were computed.
//   K6. A leaf that nobody holds ends on a block: tokens of a block that never filled are not kept.

import type { TokenSpan } from '../../schema/message.ts'
import { assert } from '../../errors.ts'
import { IndexedHeap, type HeapItem } from '../../scheduling/heap.ts'

/** One run of tokens on one path. The root of a namespace has no tokens. */
interface Node extends HeapItem {
  parent: Node | undefined
  stream: string
  /** Position in the stream of the node's first token. */
  from: number
  /** Depth of the node's first token: tokens above it. */
  start: number
  /** Depth behind its last token. */
  end: number
  /** Leases that hold the node. */
  holders: number
  /** Counts up with every release; the node's is that of its last one. */
  stamp: number
  /** Most nodes have one child: it is kept without a map. */
  only: Node | undefined
  children: Map<string, Node> | undefined
  salt: string
}

/** A sequence's place in the tree. */
export interface PrefixLease {
  readonly salt: string
  /** The sequence's tokens, all that it may come to have, in shortest form. */
  readonly runs: readonly TokenSpan[]
  /** Tokens of the sequence that are in the tree. */
  depth: number
  /** Blocks that the sequence holds besides those in the tree. */
  privateBlocks: number
  /** Owned by the cache. */
  place: Node
  /** Owned by the cache: the run that holds the token at `depth`, and the depth where that run starts. */
  cursor: { run: number; start: number }
}

/** Blocks of the pool by what they hold. */
export interface PoolBlocks {
  total: number
  live: number
  cached: number
  free: number
}

function newNode(
  parent: Node | undefined,
  salt: string,
  stream: string,
  from: number,
  start: number,
  end: number,
): Node {
  return {
    parent,
    stream,
    from,
    start,
    end,
    holders: 0,
    stamp: 0,
    arrivalOrder: 0,
    requestId: '',
    position: -1,
    only: undefined,
    children: undefined,
    salt,
  }
}

const keyOf = (stream: string, from: number): string => `${from}:${stream}`

/** The KV pool of one engine and the prefixes in it. */
export class PrefixCache {
  readonly #blockTokens: number
  readonly #total: number
  #live = 0
  #cached = 0
  #stamp = 0
  #roots = new Map<string, Node>()
  /** Leaves that nobody holds, by stamp. Two of them never have the same: a release leaves at most one leaf behind. */
  #evictable = new IndexedHeap<Node>()

  /**
   * @param options.blockTokens - tokens of a block, at least 1
   * @param options.totalBlocks - blocks of the pool, at least 1
   */
  constructor(options: { blockTokens: number; totalBlocks: number }) {
    this.#blockTokens = options.blockTokens
    this.#total = options.totalBlocks
  }

  get blocks(): PoolBlocks {
    return { total: this.#total, live: this.#live, cached: this.#cached, free: this.#free }
  }

  /** Blocks that a sequence could get: free ones, and cached ones that would be evicted. */
  get availableBlocks(): number {
    return this.#total - this.#live
  }

  get #free(): number {
    return this.#total - this.#live - this.#cached
  }

  /**
   * Takes the longest cached prefix of `runs`, whole blocks of it, at most `hitMax` tokens, if there is room for what
   * is to follow. If not, nothing changes: a request that only asks does not make its prefix look used.
   *
   * @param room - tokens that must fit, those of the hit included, given the hit
   * @returns a lease whose `depth` is the hit, or undefined if there is no room
   */
  acquire(
    runs: readonly TokenSpan[],
    salt: string,
    hitMax: number,
    room: (hit: number) => number = () => 0,
  ): PrefixLease | undefined {
    const blockTokens = this.#blockTokens
    const root = this.#roots.get(salt) ?? newNode(undefined, salt, '', 0, 0, 0)
    const known = Math.min(this.#match(root, runs, Infinity).tokens, hitMax)
    const hit = known - (known % blockTokens)
    const { idleBlocks } = this.#match(root, runs, hit)
    const needed = Math.ceil(room(hit) / blockTokens) - hit / blockTokens
    if (needed > this.availableBlocks - idleBlocks) return undefined
    this.#roots.set(salt, root)
    root.holders++
    const lease: PrefixLease = { salt, runs, depth: 0, privateBlocks: 0, place: root, cursor: { run: 0, start: 0 } }
    this.#walk(lease, hit, false)
    return lease
  }

  /**
   * Puts the sequence's next tokens into the tree, up to `depth`, and pays for the block that is begun there. Tokens
   * that are there already are shared. The caller has made sure that enough blocks are available.
   */
  extend(lease: PrefixLease, depth: number): void {
    const blockTokens = this.#blockTokens
    this.#payPrivate(lease, 0)
    this.#makeRoom(Math.ceil(depth / blockTokens) - Math.floor(lease.depth / blockTokens))
    this.#walk(lease, depth, true)
    this.#payPrivate(lease, depth % blockTokens === 0 ? 0 : 1)
  }

  /** Blocks that the sequence lacks to hold `tokens` tokens, those in the tree included. */
  lacking(lease: PrefixLease, tokens: number): number {
    const blockTokens = this.#blockTokens
    const needed = Math.ceil(tokens / blockTokens) - Math.floor(lease.depth / blockTokens)
    return Math.max(0, needed - lease.privateBlocks)
  }

  /** Gives the sequence private blocks until it can hold `tokens` tokens. The caller has checked `availableBlocks`. */
  cover(lease: PrefixLease, tokens: number): void {
    const lacking = this.lacking(lease, tokens)
    if (lacking === 0) return
    this.#makeRoom(lacking)
    this.#payPrivate(lease, lease.privateBlocks + lacking)
  }

  /** Ends a lease. The sequence had computed `tokens` tokens; the full blocks of these stay cached. */
  release(lease: PrefixLease, tokens: number): void {
    this.#payPrivate(lease, 0)
    this.#walk(lease, tokens, true)
    const stamp = ++this.#stamp
    for (let node: Node | undefined = lease.place; node !== undefined; node = node.parent) {
      node.holders--
      node.stamp = stamp
      if (node.holders === 0) {
        const blocks = this.#blocksOf(node)
        this.#live -= blocks
        this.#cached += blocks
      }
    }
    this.#settle(lease.place)
  }

  /** Forgets every prefix. Only when nobody holds any. */
  flush(): void {
    assert(this.#live === 0, 'a prefix cache is flushed while sequences hold blocks', { live: this.#live })
    this.#cached = 0
    this.#roots.clear()
    this.#evictable = new IndexedHeap()
  }

  #blocksOf(node: Node): number {
    return Math.floor(node.end / this.#blockTokens) - Math.floor(node.start / this.#blockTokens)
  }

  #payPrivate(lease: PrefixLease, blocks: number): void {
    this.#live += blocks - lease.privateBlocks
    lease.privateBlocks = blocks
  }

  #childAt(node: Node, stream: string, from: number): Node | undefined {
    const { only } = node
    if (only !== undefined) return only.from === from && only.stream === stream ? only : undefined
    return node.children?.get(keyOf(stream, from))
  }

  #addChild(node: Node, child: Node): void {
    if (node.children !== undefined) {
      node.children.set(keyOf(child.stream, child.from), child)
    } else if (node.only === undefined) {
      node.only = child
    } else {
      node.children = new Map([
        [keyOf(node.only.stream, node.only.from), node.only],
        [keyOf(child.stream, child.from), child],
      ])
      node.only = undefined
    }
  }

  #removeChild(node: Node, child: Node): void {
    if (node.only === child) {
      node.only = undefined
    } else if (node.children !== undefined) {
      node.children.delete(keyOf(child.stream, child.from))
      if (node.children.size === 0) node.children = undefined
    }
  }

  #isLeaf(node: Node): boolean {
    return node.only === undefined && node.children === undefined
  }

  /** Tokens of `runs` that the tree knows, at most `limit`, and the blocks among them that nobody holds. */
  #match(root: Node, runs: readonly TokenSpan[], limit: number): { tokens: number; idleBlocks: number } {
    const blockTokens = this.#blockTokens
    let node = root
    let tokens = 0
    let idleBlocks = 0
    let run = 0
    let position = runs[0]?.from ?? 0
    while (tokens < limit) {
      const current = runs[run]
      if (current === undefined) break
      const child = this.#childAt(node, current.stream, position)
      if (child === undefined) break
      const length = child.end - child.start
      const taken = Math.min(length, current.to - position, limit - tokens)
      if (child.holders === 0) {
        idleBlocks += Math.floor((tokens + taken) / blockTokens) - Math.floor(tokens / blockTokens)
      }
      tokens += taken
      // Runs are in shortest form: a run that ends inside a node is followed by other tokens than the node's.
      if (taken < length) break
      node = child
      position += length
      if (position === current.to) {
        run++
        position = runs[run]?.from ?? 0
      }
    }
    return { tokens, idleBlocks }
  }

  /** Moves a lease down to `depth`, holding what is there and, if `create`, making what is not. */
  #walk(lease: PrefixLease, depth: number, create: boolean): void {
    const { cursor } = lease
    while (lease.depth < depth) {
      const run = lease.runs[cursor.run]
      assert(run !== undefined, 'a sequence has fewer tokens than it computed')
      const runEnd = cursor.start + run.to - run.from
      if (lease.depth === runEnd) {
        cursor.run++
        cursor.start = runEnd
        continue
      }
      const position = run.from + lease.depth - cursor.start
      const target = Math.min(depth, runEnd)
      const { place } = lease
      const child = this.#childAt(place, run.stream, position)
      if (child !== undefined) {
        const taken = child.end > target ? this.#split(child, target) : child
        if (taken.holders === 0) {
          const blocks = this.#blocksOf(taken)
          this.#cached -= blocks
          this.#live += blocks
          if (taken.position !== -1) this.#evictable.remove(taken)
        }
        taken.holders++
        lease.place = taken
        lease.depth = taken.end
        continue
      }
      assert(create, 'a prefix that matched is not there')
      const before = Math.floor(lease.depth / this.#blockTokens)
      if (this.#growsInPlace(place, run.stream, position)) {
        place.end = target
      } else {
        const made = newNode(place, lease.salt, run.stream, position, lease.depth, target)
        made.holders = 1
        this.#addChild(place, made)
        lease.place = made
      }
      this.#live += Math.floor(target / this.#blockTokens) - before
      lease.depth = target
    }
  }

  /** The next token continues a leaf that only this lease holds: no new node is needed. */
  #growsInPlace(place: Node, stream: string, position: number): boolean {
    return (
      place.parent !== undefined &&
      place.holders === 1 &&
      place.stream === stream &&
      place.from + place.end - place.start === position &&
      this.#isLeaf(place)
    )
  }

  /** Cuts a node in two. The lower part keeps its identity, because leases end at ends of nodes (K3). */
  #split(node: Node, depth: number): Node {
    const { parent } = node
    assert(parent !== undefined, 'a root is never split')
    const upper = newNode(parent, node.salt, node.stream, node.from, node.start, depth)
    upper.holders = node.holders
    upper.stamp = node.stamp
    this.#removeChild(parent, node)
    this.#addChild(parent, upper)
    node.parent = upper
    node.from += depth - node.start
    node.start = depth
    this.#addChild(upper, node)
    return upper
  }

  /** Makes `blocks` blocks free, by evicting (K4). */
  #makeRoom(blocks: number): void {
    while (this.#free < blocks) {
      const node = this.#evictable.peek()
      assert(node?.parent !== undefined, 'the KV pool has fewer blocks than were promised', { blocks, ...this.blocks })
      const held = this.#blocksOf(node)
      const taken = Math.min(held, blocks - this.#free)
      this.#cached -= taken
      if (taken < held) {
        node.end = (Math.floor(node.end / this.#blockTokens) - taken) * this.#blockTokens
      } else {
        this.#evictable.remove(node)
        this.#removeChild(node.parent, node)
        this.#settle(node.parent)
      }
    }
  }

  /** Puts a node that may have become a leaf nobody holds in order: trims it (K6), and queues it for eviction. */
  #settle(from: Node): void {
    let node = from
    while (node.holders === 0 && this.#isLeaf(node)) {
      const { parent } = node
      if (parent === undefined) {
        this.#roots.delete(node.salt)
        return
      }
      const whole = node.end - (node.end % this.#blockTokens)
      if (whole > node.start) {
        node.end = whole
        this.#evictable.push(node, node.stamp)
        return
      }
      this.#removeChild(parent, node)
      node = parent
    }
  }
}
