# Source this in the shell, or the script, that starts a camera's driver:
#
#   source "$(ros2 pkg prefix --share perf_inference)/config/camera_env.sh"
#   ros2 run usb_cam usb_cam_node_exe
#
# A driver in stock settings has 0.5 MB of shared memory, which cannot hold an image: most best-effort images are lost on
# their way, and reliable ones take ten times as long. And a node that starts after it waits up to 3 s until it has found
# it, with these settings a second at most. What you have set yourself stays. docs/transport.md has the figures.

_perf_inference_config="$(cd "$(dirname "${BASH_SOURCE:-$0}")" && pwd)"

_perf_inference_profile() {
    export FASTRTPS_DEFAULT_PROFILES_FILE="$_perf_inference_config/$1" FASTDDS_DEFAULT_PROFILES_FILE="$_perf_inference_config/$1"
}

case "${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp}" in
rmw_fastrtps*)
    if [ -z "${FASTDDS_BUILTIN_TRANSPORTS+x}${FASTRTPS_DEFAULT_PROFILES_FILE+x}${FASTDDS_DEFAULT_PROFILES_FILE+x}" ]; then
        if [ "${ROS_AUTOMATIC_DISCOVERY_RANGE:-}" = LOCALHOST ] || [ "${ROS_LOCALHOST_ONLY:-}" = 1 ]; then
            _perf_inference_profile fastdds_this_host.xml
        else
            case "${ROS_DISTRO:-}" in
            humble | iron) _perf_inference_profile fastdds_publisher.xml ;; # Fast DDS before 2.14
            *)
                _perf_inference_profile fastdds_discovery.xml
                export FASTDDS_BUILTIN_TRANSPORTS='DEFAULT?sockets_size=8MB'
                ;;
            esac
        fi
    fi
    ;;
rmw_cyclonedds_cpp)
    : "${CYCLONEDDS_URI=<CycloneDDS><Domain><Internal><SocketReceiveBufferSize max=\"8MB\"/></Internal></Domain></CycloneDDS>}"
    export CYCLONEDDS_URI
    ;;
rmw_zenoh_cpp)
    if [ -z "${ZENOH_SESSION_CONFIG_URI+x}" ]; then
        : "${ZENOH_CONFIG_OVERRIDE=transport/shared_memory/enabled=true}"
        export ZENOH_CONFIG_OVERRIDE
    fi
    ;;
esac

# An image's memory is kept by the allocator, and not taken from the system anew each time.
if [ -z "${MALLOC_MMAP_THRESHOLD_+x}${MALLOC_TRIM_THRESHOLD_+x}" ]; then
    export MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=134217728
fi

unset -f _perf_inference_profile
unset _perf_inference_config
