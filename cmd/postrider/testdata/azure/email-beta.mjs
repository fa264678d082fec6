// The e-mail client of 2021-10-01-preview: send, and ask for the status until it
// is final. It does not tell when to ask again, and of an endpoint with a slash
// makes URLs with two.
import beta from "email-1.0.0-beta.1";
import { credential, endpoint, input, tell } from "./caller.mjs";

const client = new beta.EmailClient(endpoint + "/", credential);

await tell(async (seen) => {
  if (input.message) {
    seen.sent = (await client.send(input.message)).messageId;
  }
  seen.statuses = [];
  for (;;) {
    const { messageId, status } = await client.getSendStatus(seen.sent ?? input.id);
    if (seen.statuses.at(-1) !== status) {
      seen.statuses.push(status);
    }
    if (status !== "queued") {
      return { id: messageId, status };
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
});
