// Puts texts into an order: the one with the most words first.
export function executeFunction(texts) {
  return [...texts].sort(byWords).map(nameOf);
}

const byWords = (a, b) => b.words - a.words || a.name.localeCompare(b.name);
const nameOf = (text) => text.name;
