// Entry file of the prompt threads. No logic here: coverage does not see it.

export { runPromptTask as default } from './prompt-tasks.ts'
