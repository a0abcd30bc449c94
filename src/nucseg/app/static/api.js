// Requests to the server. What it refuses becomes an Error with its message.

export class SessionEnded extends Error {}

async function send(method, path, { json, body, query } = {}) {
  const address = query ? `${path}?${new URLSearchParams(query)}` : path;
  const asJson = { headers: { "Content-Type": "application/json" }, body: JSON.stringify(json) };
  const content = json === undefined ? { body } : asJson;
  let reply;
  try {
    reply = await fetch(address, { method, ...content });
  } catch {
    throw new Error("The app does not answer. Is nucseg app still running in its terminal?");
  }
  if (reply.ok) return reply;
  const told = await reply.json().catch(() => ({}));
  const message = told.error || `The app answered with status ${reply.status}.`;
  throw reply.status === 401 ? new SessionEnded(message) : new Error(message);
}

const asJson = (method) => async (path, options) => (await send(method, path, options)).json();

export const get = asJson("GET");
export const post = asJson("POST");
export const remove = asJson("DELETE");
export const bytes = async (path) => (await send("GET", path)).arrayBuffer();
export const blob = async (path, json) => (await send(json ? "POST" : "GET", path, { json })).blob();
