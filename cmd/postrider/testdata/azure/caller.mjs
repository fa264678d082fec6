// What the scripts share: who they are, what they are to do, and how they tell
// what they saw. azure_test.go runs them, and says what it should have been.
import { AzureKeyCredential } from "@azure/core-auth";

export const { ENDPOINT: endpoint, SECURE: secure, KEY: key, TOKEN: token, SUBSCRIPTION: subscription } = process.env;

export const input = JSON.parse(process.env.INPUT);

export const credential = new AzureKeyCredential(key);

export const bearer = { getToken: async () => ({ token, expiresOnTimestamp: Date.now() + 3600_000 }) };

// How often pollers ask that are not told when: too often, so that it shows.
export const eager = 10;

// Runs an action and prints what it returns, or what it threw.
export async function tell(action) {
  const seen = {};
  try {
    seen.result = await action(seen);
  } catch (error) {
    const { name, code, statusCode, message } = error;
    seen.error = { name, code, statusCode, message, target: error.details?.error?.target };
  }
  console.log(JSON.stringify(seen));
}

// Makes the state from which a client's poller goes on with an operation.
export function resume(operationLocation) {
  const config = { operationLocation, metadata: { mode: "OperationLocation" } };
  return { updateIntervalInMs: eager, resumeFrom: JSON.stringify({ state: { status: "running", isStarted: true, config } }) };
}
