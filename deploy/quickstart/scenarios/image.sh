# image.sh: a new image goes to a canary in Kubernetes (a stand-in) first, then everywhere
# shellcheck shell=bash
play() {
    local image=registry.example.com/shop/web:42
    with_kubernetes checkout checkout-canary
    shows checkout "web:1,"
    new_case "Demo: checkout gets version 42" --kind change --label template=canary --label namespace=shop \
        --label workload=checkout --label canary=checkout-canary --label "image=$image" --label env=staging
    follow CLOSED
    shows checkout-canary "3 available, image $image,"
    shows checkout "3 available, image $image,"
}
