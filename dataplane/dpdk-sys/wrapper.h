/* What of DPDK is bound. build.rs reads it with bindgen, which also writes a C function for each inline one that its
 * allowlist names. The inlines below give a name to what DPDK has only as a macro, a thread-local or a bit-field. */

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_epoll.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_memzone.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_swx_ctl.h>
#include <rte_swx_pipeline.h>
#include <rte_swx_port_ring.h>
#include <rte_version.h>

/* VFIO's own interface, for drives: what rte_vfio.h offers is for ports. */
#include <linux/pci_regs.h>
#include <linux/vfio.h>

/* The calling thread's rte_errno: positive, or 0. */
static inline int dpdk_sys_errno(void)
{
	return rte_errno;
}

/* The calling thread's lcore, or LCORE_ID_ANY. */
static inline unsigned int dpdk_sys_lcore_id(void)
{
	return rte_lcore_id();
}

/* 1 when the link of the port is up, 0 when not, negative errno. Does not wait. */
static inline int dpdk_sys_link_up(uint16_t port)
{
	struct rte_eth_link link;
	int ret = rte_eth_link_get_nowait(port, &link);

	return ret < 0 ? ret : link.link_status == RTE_ETH_LINK_UP;
}

/* The fields of a memzone that its packed, union-ridden struct hides. */
static inline void *dpdk_sys_memzone_addr(const struct rte_memzone *mz)
{
	return mz->addr;
}

static inline uint64_t dpdk_sys_memzone_iova(const struct rte_memzone *mz)
{
	return mz->iova;
}

/* Offloads, by macros whose type bindgen cannot know. */
static const uint64_t DPDK_SYS_RX_OFFLOAD_RSS_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH;
static const uint64_t DPDK_SYS_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
static const uint64_t DPDK_SYS_RSS_NONFRAG_UDP = RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV6_UDP;
