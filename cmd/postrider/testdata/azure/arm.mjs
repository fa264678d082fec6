// The client of API Management: the status of an operation, or its poller to the
// end.
import { ApiManagementClient } from "@azure/arm-apimanagement";
import { bearer, input, resume, secure, subscription, tell } from "./caller.mjs";

const client = new ApiManagementClient(bearer, subscription, { endpoint: secure });

await tell(async () => {
  if (!input.location) {
    return client.operationStatus.get("northeurope", input.id);
  }
  const poller = await client.apiManagementService.beginRestore("group", "service", {}, resume(input.location));
  return poller.pollUntilDone();
});
