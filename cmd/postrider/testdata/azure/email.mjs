// The e-mail clients with a poller: 1.0.0 (2023-03-31) and 1.1.0 (2025-09-01).
import { eager, endpoint, input, key, resume, tell } from "./caller.mjs";

const { EmailClient } = await import(input.client);
const client = new EmailClient(`endpoint=${endpoint}/;accesskey=${key}`, { allowInsecureConnection: true, ...input.options });

if (input.attachedBytes) {
  const contentInBase64 = Buffer.alloc(input.attachedBytes).toString("base64");
  input.message.attachments = [{ name: "zeros.bin", contentType: "application/octet-stream", contentInBase64 }];
}

await tell(async (seen) => {
  const { location, message, operation: operationId, request: clientRequestId } = input;
  const how = location ? resume(location) : { updateIntervalInMs: eager, operationId, clientRequestId };
  const poller = await client.beginSend(message, how);
  seen.location = poller.getOperationState().config.operationLocation;
  return poller.pollUntilDone();
});
