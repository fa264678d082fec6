// The chat client: who has read a mail, by page.
import { ChatClient } from "@azure/communication-chat";
import { AzureCommunicationTokenCredential } from "@azure/communication-common";
import { input, secure, tell, token } from "./caller.mjs";

const client = new ChatClient(secure, new AzureCommunicationTokenCredential(token), input.options);

async function pages() {
  const all = [];
  for await (const page of client.getChatThreadClient(input.id).listReadReceipts(input.paging).byPage()) {
    all.push(page);
  }
  return all;
}

await tell(async () => {
  for (let more = input.times ?? 1; more > 1; more--) {
    await pages();
  }
  return pages();
});
