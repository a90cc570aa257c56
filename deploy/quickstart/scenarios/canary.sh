# canary.sh: a change goes to the canary first, then everywhere, and its error rate is verified
# shellcheck shell=bash disable=SC2154
play() {
    local urn=urn:k8s:svc:demo/checkout-$RANDOM
    measure "$urn" 0.01
    new_case "Demo: checkout gets version 42" --kind change --label service=checkout --label env=staging \
        --label canary=true --label "resource=$urn" --label metric=error_rate --label threshold=0.05 --label window_s=3
    follow CLOSED
    ctl verify list "$id"
}
