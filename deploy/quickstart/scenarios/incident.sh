# incident.sh: an incident is analysed, planned, approved, repaired and verified by itself
# shellcheck shell=bash
play() {
    new_case "Demo: checkout answers slowly" --kind incident --severity critical \
        --label service=checkout --label env=staging
    follow CLOSED
}
