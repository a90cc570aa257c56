# canary.sh: a change goes to the canary first, then everywhere, and is verified
# shellcheck shell=bash
play() {
    new_case "Demo: checkout gets version 42" --kind change \
        --label service=checkout --label env=staging --label canary=true
    follow CLOSED
}
