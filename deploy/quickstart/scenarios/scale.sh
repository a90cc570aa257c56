# scale.sh: a workload of Kubernetes (a stand-in) gets six replicas instead of three
# shellcheck shell=bash
play() {
    with_kubernetes checkout
    shows checkout "3 replicas wanted, 3 available"
    new_case "Demo: checkout needs six" --kind change --label template=scale --label namespace=shop \
        --label workload=checkout --label replicas=6 --label replicas_before=3 --label env=staging
    follow CLOSED
    shows checkout "6 replicas wanted, 6 available"
}
