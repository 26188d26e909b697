//! Generates the bindings of `wrapper.h` from the DPDK that is installed, and compiles its inline functions.
//!
//! Nothing generated is checked in: layouts differ by architecture (the cache line is 128 bytes on arm64) and release.

use std::env;
use std::path::PathBuf;
use std::process::{Command, exit};

/// What is bound, and nothing else.
const FUNCTIONS: &str = "rte_(eal_(init|cleanup|remote_launch|wait_lcore|mp_wait_lcore)\
|get_(main_lcore|next_lcore|tsc_hz)|lcore_to_socket_id|version\
|pktmbuf_(pool_create|alloc|alloc_bulk|free|free_bulk)|mempool_(free|avail_count)\
|ring_(create|free|count|enqueue_burst|dequeue_burst)\
|epoll_(ctl|wait)|memzone_(reserve_aligned|free)|dev_(probe|remove|name)\
|eth_(dev_(configure|start|stop|close|info_get|set_mtu|adjust_nb_rx_tx_desc|socket_id)\
|find_next|macaddr_get|promiscuous_enable|allmulticast_enable|stats_get\
|rx_queue_setup|tx_queue_setup|dev_rx_intr_(enable|disable|ctl_q)|call_rx_callbacks|call_tx_callbacks)\
|swx_pipeline_(config|port_in_config|port_out_config|struct_type_register|packet_header_register\
|packet_metadata_register|action_config|table_config|regarray_config|instructions_config|build|run|flush|free\
|table_state_get)\
|swx_ctl_(pipeline_(create|free|table_entry_add|table_default_entry_add|table_entry_delete|commit|abort\
|regarray_read|info_get)|table_info_get|table_ops_get|action_info_get))|dpdk_sys_.*";
const VARIABLES: &str = "rte_eth_fp_ops|RTE_(MAX_(ETHPORTS|LCORE)|PKTMBUF_HEADROOM|MEMZONE_(IOVA_CONTIG|NAMESIZE)\
|MEMPOOL_NAMESIZE|RING_NAMESIZE|INTR_EVENT_(ADD|DEL)|ETHER_(HDR|CRC)_LEN|ETH_MQ_RX_RSS)|RING_F_(SC_DEQ|SP_ENQ|EXACT_SZ|MP_RTS_ENQ)|DPDK_SYS_.*\
|VFIO_(API_VERSION|TYPE1v2_IOMMU|GET_API_VERSION|CHECK_EXTENSION|SET_IOMMU|GROUP_(FLAGS_VIABLE|GET_STATUS|SET_CONTAINER\
|GET_DEVICE_FD)|DEVICE_(FLAGS_RESET|GET_INFO|GET_REGION_INFO|GET_IRQ_INFO|SET_IRQS|RESET)|REGION_INFO_(FLAG_(MMAP|CAPS)\
|CAP_SPARSE_MMAP)|IRQ_(INFO_EVENTFD|SET_(DATA_EVENTFD|ACTION_TRIGGER))|PCI_(BAR0_REGION|CONFIG_REGION|ERR_IRQ|REQ_IRQ)_INDEX\
|IOMMU_(GET_INFO|INFO_CAPS|TYPE1_INFO_CAP_IOVA_RANGE|MAP_DMA|UNMAP_DMA)|DMA_MAP_FLAG_(READ|WRITE))\
|PCI_COMMAND(_(MEMORY|MASTER|INTX_DISABLE))?";
/// VFIO's structs that end in an array of unknown length are written out by their user: they cannot be told in Rust.
const TYPES: &str = "rte_swx_port_ring_(reader|writer)_params\
|vfio_(group_status|device_info|region_info|irq_info|iommu_type1_(info|dma_map))";

/// The libraries called by name. Everything else, PMDs and the mempool's ring driver included, EAL loads by dlopen.
const LIBRARIES: [&str; 6] = ["rte_eal", "rte_ethdev", "rte_mempool", "rte_mbuf", "rte_ring", "rte_pipeline"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=wrapper.h");
    for name in ["PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR", "LIBCLANG_PATH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    // Raw: the flags carry `-include rte_config.h` and `-march`, which the inline functions depend on.
    let cflags = pkg_config(&["--cflags", "libdpdk"]);
    let version = pkg_config(&["--modversion", "libdpdk"]);
    let search = pkg_config(&["--libs-only-L", "libdpdk"]);

    // bindgen panics when it finds no libclang; an operator needs the package's name instead.
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let clang = std::panic::catch_unwind(bindgen::clang_version);
    std::panic::set_hook(quiet);
    if clang.is_err() {
        refuse("libclang is missing: apt-get install libclang-14-dev (or set LIBCLANG_PATH)");
    }

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let inlines = out.join("inlines.c");
    let bindings = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(cflags.split_whitespace())
        .clang_arg(format!("--target={}", clang_target(&target)))
        .clang_macro_fallback()
        .clang_macro_fallback_build_dir(&out)
        .wrap_static_fns(true)
        .wrap_static_fns_path(&inlines)
        .allowlist_function(FUNCTIONS)
        .allowlist_var(VARIABLES)
        .allowlist_type(TYPES)
        // Seen through pointers only; their layouts vary or cannot be told in Rust.
        .opaque_type("rte_(mempool|ring|memzone|device|eth_dev.*_ops|eth_rxtx_callback)")
        .opaque_type("rte_eth_(dcb|vmdq|fdir).*|rte_ether_hdr|rte_arp.*|rte_ip.*")
        .prepend_enum_name(false)
        .use_core()
        .generate_comments(false)
        .merge_extern_blocks(true)
        .rust_target(bindgen::RustTarget::stable(85, 0).expect("a release bindgen knows"))
        .rust_edition(bindgen::RustEdition::Edition2024)
        .generate();
    let bindings = match bindings {
        Ok(bindings) => bindings,
        Err(error) => refuse(&format!("DPDK {} cannot be bound: {error}", version.trim())),
    };
    bindings.write_to_file(out.join("bindings.rs")).expect("OUT_DIR is writable");

    let mut compiler = cc::Build::new();
    compiler.file(&inlines).include(".").opt_level(2).warnings(false);
    for flag in cflags.split_whitespace() {
        compiler.flag(flag);
    }
    compiler.compile("dpdk_sys_inlines");

    for path in search.split_whitespace().filter_map(|flag| flag.strip_prefix("-L")) {
        println!("cargo::rustc-link-search=native={path}");
    }
    for library in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
    println!("cargo::metadata=version={}", version.trim());
}

/// What pkg-config answers about the DPDK of the target.
fn pkg_config(arguments: &[&str]) -> String {
    let program = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    match Command::new(&program).args(arguments).output() {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).expect("pkg-config prints text"),
        Ok(_) => refuse("DPDK is missing: apt-get install libdpdk-dev libclang-14-dev (or set PKG_CONFIG_PATH)"),
        Err(_) => refuse("pkg-config is missing: apt-get install pkg-config libdpdk-dev libclang-14-dev"),
    }
}

/// Clang's name for a Rust target of Linux.
fn clang_target(target: &str) -> String {
    target.replace("-unknown-", "-")
}

/// Ends the build with one line that says what to do. Cargo fails for the line; a failing script would bury it.
fn refuse(line: &str) -> ! {
    println!("cargo::error={line}");
    exit(0)
}
