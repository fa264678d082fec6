// A request without a client of its own, signed by the policy that the clients
// have.
import { createCommunicationAuthPolicy } from "@azure/communication-common";
import { createDefaultHttpClient, createHttpHeaders, createPipelineFromOptions, createPipelineRequest } from "@azure/core-rest-pipeline";
import { credential, endpoint, input, tell } from "./caller.mjs";

const pipeline = createPipelineFromOptions({});
pipeline.addPolicy(createCommunicationAuthPolicy(credential));

await tell(async () => {
  const { status, headers, bodyAsText } = await pipeline.sendRequest(
    createDefaultHttpClient(),
    createPipelineRequest({
      url: endpoint + input.path,
      method: input.method,
      body: input.body,
      headers: createHttpHeaders({ "Content-Type": input.type ?? "application/json", ...input.headers }),
      allowInsecureConnection: true,
    }),
  );
  return { status, headers: headers.toJSON(), body: bodyAsText };
});
