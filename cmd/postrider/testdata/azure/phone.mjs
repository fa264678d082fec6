// The client of phone numbers: an operation by its ID, or its poller to the end,
// which fetches what resourceLocation names.
import { PhoneNumbersClient } from "@azure/communication-phone-numbers";
import { credential, endpoint, input, resume, tell } from "./caller.mjs";

const client = new PhoneNumbersClient(endpoint + "/", credential, { allowInsecureConnection: true, apiVersion: "2022-12-01" });

const search = {
  countryCode: "US",
  phoneNumberType: "tollFree",
  assignmentType: "application",
  capabilities: { calling: "none", sms: "none" },
};

await tell(async () => {
  if (!input.location) {
    return client.client.phoneNumbers.getOperation(input.id);
  }
  const poller = await client.beginSearchAvailablePhoneNumbers(search, resume(input.location));
  return poller.pollUntilDone();
});
