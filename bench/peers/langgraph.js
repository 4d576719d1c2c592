// LangGraph.js: a node a stage, an edge a dependency, results in a list in the state; no checkpointer.

import { Annotation, END, START, StateGraph } from '@langchain/langgraph'

/** @type {import('../overhead/shape.ts').System} */
export const system = {
  open({ levels }, call) {
    const state = Annotation.Root({
      results: Annotation({ reducer: (known, more) => known.concat(more), default: () => [] }),
    })
    let graph = new StateGraph(state)
    for (const [level, stages] of levels.entries()) {
      for (const stage of stages) graph = graph.addNode(stage, async () => ({ results: [await call(level)] }))
    }
    for (const [level, stages] of levels.entries()) {
      for (const stage of stages) graph = graph.addEdge(level === 0 ? START : levels[level - 1], stage)
      if (level === levels.length - 1) for (const stage of stages) graph = graph.addEdge(stage, END)
    }
    const compiled = graph.compile()
    return Promise.resolve({ run: () => compiled.invoke({ results: [] }) })
  },
}
