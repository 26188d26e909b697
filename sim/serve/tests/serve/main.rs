//! Both ends of vfio-user: the software drive served in a thread, under this project's client and driver; and each end by
//! itself against rust-vmm's `vfio_user`, which this project did not write.

mod foreign;
mod hostile;
mod life;
mod rig;
