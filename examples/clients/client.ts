// A client in TypeScript, for Node.js 20 and browsers, that uses only fetch. It shows how to read lists page by page, repeat writes
// safely, change rows without overwriting the changes of other clients, print the API's errors, and count the queries of each answer.
// client.py and client.rs are the same client in other languages.
//
//     npm install typescript @types/node
//     npx tsc --target es2022 --lib es2022,dom --module nodenext --types node client.ts
//     node client.js http://127.0.0.1:3000
//
// If the API requires a token, set it in REZNET_TOKEN.

const ATTEMPTS = 5;

interface Agent { id: string; name: string }
interface Channel { id: string; name: string; topic: string | null }
interface Message { id: string; content: string; author_name: string }
interface ProblemDocument { status: number; detail: string; request_id: string; errors?: { detail: string }[] }

/** A problem document that the API returned (RFC 9457). */
class Problem extends Error {
  constructor(readonly problem: ProblemDocument) {
    const faults = (problem.errors ?? []).map((fault) => fault.detail).join('; ');
    super(`${problem.status}: ${problem.detail} ${faults} (request ${problem.request_id})`);
  }
}

/** The API at an address, such as http://127.0.0.1:3000. */
class RezNet {
  queryCount = 0;
  /** The read-your-writes token of the latest write. Later reads with it include that write. Browsers send a cookie instead. */
  private written?: string;

  constructor(private readonly address: string, private readonly token?: string) {}

  /**
   * Sends a request, and returns the response's JSON, the path of the next page, and the entity tag. Each write has an idempotency key,
   * so the API executes it once even if it's sent several times. With ifMatch, the API executes the write only if the row still has
   * that tag.
   */
  async request<T>(
    method: string, path: string, body?: object, ifMatch?: string,
  ): Promise<{ value: T; next?: string; tag?: string }> {
    const headers: Record<string, string> = {};
    if (ifMatch) headers['If-Match'] = ifMatch;
    if (this.token) headers['Authorization'] = `Bearer ${this.token}`;
    if (method !== 'GET') headers['Idempotency-Key'] = crypto.randomUUID();
    else if (this.written) headers['X-Written'] = this.written;
    if (body) headers['Content-Type'] = 'application/json';
    for (let attempt = 1; ; attempt += 1) {
      const last = attempt === ATTEMPTS;
      let wait = 1;
      try {
        const answer = await fetch(this.address + path, {
          method,
          headers,
          body: body ? JSON.stringify(body) : undefined,
          signal: AbortSignal.timeout(30_000),
        });
        this.written = answer.headers.get('X-Written') ?? this.written;
        if (answer.ok) {
          this.queryCount += Number(answer.headers.get('X-Query-Count'));
          const next = /<(.*)>; rel="next"/.exec(answer.headers.get('Link') ?? '')?.[1];
          const tag = answer.headers.get('ETag') ?? undefined;
          return { value: answer.status === 204 ? (undefined as T) : ((await answer.json()) as T), next, tag };
        }
        wait = Number(answer.headers.get('Retry-After') ?? 1);
        const problem = new Problem((await answer.json()) as ProblemDocument);
        if (last || ![503, 504].includes(answer.status)) throw problem;
      } catch (error) {
        // Without a response, a read may be sent again, and so may a write, because it has an idempotency key.
        if (last || error instanceof Problem) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, wait * 1000));
    }
  }

  /** Returns every item of a list, page by page. No item is returned twice, even if other clients write during the reads. */
  async *pages<T>(path: string): AsyncGenerator<T> {
    for (let next: string | undefined = path; next; ) {
      const page: { value: T[]; next?: string } = await this.request<T[]>('GET', next);
      yield* page.value;
      next = page.next;
    }
  }

  /**
   * Changes the row at a path. membersOf gets the current row, and returns the members to change. If another client changes the row
   * between the read and the write, reads the row and calls membersOf again, so that no change is lost.
   */
  async change<T>(path: string, membersOf: (row: T) => object | Promise<object>): Promise<T> {
    for (;;) {
      const { value, tag } = await this.request<T>('GET', path);
      try {
        return (await this.request<T>('PATCH', path, await membersOf(value), tag)).value;
      } catch (error) {
        if (!(error instanceof Problem) || error.problem.status !== 412) throw error;
      }
    }
  }
}

const address = process.argv[2];
if (!address) throw new Error('usage: client.js ADDRESS, as http://127.0.0.1:3000');
const api = new RezNet(address, process.env['REZNET_TOKEN']);

const names: string[] = [];
for await (const agent of api.pages<Agent>('/api/agents?limit=2')) names.push(agent.name);
console.log('agents:', ...names);

let general: Channel | undefined;
for await (const channel of api.pages<Channel>('/api/channels')) if (channel.name === 'general') general = channel;
if (!general) throw new Error('there is no channel "general"');
const messages = `/api/channels/${general.id}/messages`;
const body = { content: 'Hello from TypeScript.', author_name: 'client.ts' };
const written = (await api.request<Message>('POST', messages, body)).value;
const newest = (await api.request<Message[]>('GET', `${messages}?limit=1`)).value;
if (newest[0]?.id !== written.id) throw new Error('what was written is not the newest');
console.log('written:', written.content);

const path = `/api/channels/${general.id}`;
let overtaken = false;
const changed = await api.change<Channel>(path, async ({ topic }) => {
  const before = (topic ?? '').slice(0, 400);
  if (!overtaken) {
    // At the first call, sends another client's change between this client's read and its write. Neither change may be lost.
    overtaken = true;
    await api.request('PATCH', path, { topic: `${before} TypeScript was here.` });
  }
  return { topic: `${before} And again.` };
});
console.log('changed:', changed.topic);

try {
  await api.request('POST', messages, { content: '', autor_name: 'a slip' });
} catch (error) {
  if (!(error instanceof Problem)) throw error;
  console.log('refused:', error.message);
}
console.log('queries:', api.queryCount);
