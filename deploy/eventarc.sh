#!/bin/sh
# Has Eventarc send every change of a mail document to a Cloud Run service that
# runs Postrider with SOURCE=push, as service.yaml shows in its comments. Set
# these, then run it once; it needs gcloud.
#
#   PROJECT            the project
#   REGION             of the Cloud Run service
#   DATABASE_LOCATION  of the Firestore database, as nam5 or europe-west3
#   MAIL_COLLECTION    as the service has it; default: mail
set -eu
: "${PROJECT:?}" "${REGION:?}" "${DATABASE_LOCATION:?}"
account="postrider-events@$PROJECT.iam.gserviceaccount.com"

gcloud services enable eventarc.googleapis.com eventarcpublishing.googleapis.com pubsub.googleapis.com --project="$PROJECT"

# Only this account may call the service: an event is believed.
gcloud iam service-accounts create postrider-events --project="$PROJECT"
gcloud projects add-iam-policy-binding "$PROJECT" --member="serviceAccount:$account" --role=roles/eventarc.eventReceiver
gcloud run services add-iam-policy-binding postrider --project="$PROJECT" --region="$REGION" \
  --member="serviceAccount:$account" --role=roles/run.invoker

gcloud eventarc triggers create postrider --project="$PROJECT" --location="$DATABASE_LOCATION" \
  --destination-run-service=postrider --destination-run-region="$REGION" --destination-run-path=/events \
  --event-filters=type=google.cloud.firestore.document.v1.written \
  --event-filters=database='(default)' \
  --event-filters-path-pattern=document="${MAIL_COLLECTION:-mail}/{id}" \
  --event-data-content-type=application/protobuf \
  --service-account="$account"

# The request ends at this deadline: it must outlast an attempt, which may take
# as long as LEASE_DURATION. Eventarc's own is 10 seconds.
subscription=$(gcloud eventarc triggers describe postrider --project="$PROJECT" --location="$DATABASE_LOCATION" \
  --format='value(transport.pubsub.subscription)')
gcloud pubsub subscriptions update "$subscription" --project="$PROJECT" --ack-deadline=120
