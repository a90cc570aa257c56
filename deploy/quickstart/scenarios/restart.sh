# restart.sh: a restart makes things worse: its verification fails, it is rolled back, the case is parked
# shellcheck shell=bash disable=SC2154
play() {
    local urn=urn:k8s:svc:demo/payments-$RANDOM run
    measure "$urn" 0.4
    new_case "Demo: payments is restarted" --kind change --label service=payments --label env=staging \
        --label "resource=$urn" --label metric=error_rate --label threshold=0.05 --label window_s=3
    follow PARKED
    ctl verify list "$id"
    run=$(api GET "/case/$id/verify" | sed -n 's/.*"verify_id" *: *"\([0-9a-f-]*\)".*/\1/p')
    api GET "/verify/$run" | grep -q '"rollback_exec_id" *: *"' || die "the rollback is not recorded"
    api GET "/case/$id" | grep -q 'rolled back' || die "the case does not say that it was rolled back"
}
