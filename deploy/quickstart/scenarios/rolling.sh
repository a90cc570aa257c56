# rolling.sh: the pods of a workload of Kubernetes (a stand-in) are restarted one after the other
# shellcheck shell=bash
play() {
    with_kubernetes checkout
    shows checkout "generation 1"
    new_case "Demo: checkout leaks memory" --kind change --label template=rolling-restart --label namespace=shop \
        --label workload=checkout --label env=staging
    follow CLOSED
    shows checkout "3 available, image registry.example.com/shop/web:1, generation 2, restarted"
}
