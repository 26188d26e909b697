//! The two calls about the program. It is compiled in: it can be told, and set to what it is (P4Runtime 1.5.0 §14, §15).

use gantry_p4_proto::runtime::get_forwarding_pipeline_config_request::ResponseType;
use gantry_p4_proto::runtime::set_forwarding_pipeline_config_request::Action;
use gantry_p4_proto::runtime::{
    ForwardingPipelineConfig, GetForwardingPipelineConfigRequest, GetForwardingPipelineConfigResponse,
    SetForwardingPipelineConfigRequest, forwarding_pipeline_config::Cookie,
};

use super::calls::{Step, Work};
use super::pipeline::Pipeline;
use super::plane::{Change, Plane};
use super::role::Authority;
use super::server::Server;
use super::status::{Refusal, denied, invalid, not_found, unsupported};

/// The config's cookie, and the changes that empty what clients have written.
type Clearing = (Option<u64>, Vec<Change>);

impl<P: Plane> Server<P> {
    pub(super) fn begin_config(&mut self, request: &SetForwardingPipelineConfigRequest) -> Step {
        match self.set_config(request) {
            Ok(None) => Step::Over(Ok(())),
            Ok(Some((cookie, changes))) => Step::Commit(Work::Clear(cookie), changes),
            Err(refusal) => Step::Over(Err(refusal.into())),
        }
    }

    /// Checks the call and does it, unless there are changes to be made first.
    #[allow(deprecated)]
    fn set_config(&mut self, request: &SetForwardingPipelineConfigRequest) -> Result<Option<Clearing>, Refusal> {
        let authority = self.writer(request.device_id, request.role_id, &request.role, request.election_id.as_ref())?;
        if !matches!(authority, Authority::Whole) {
            return Err(denied("the program is not in the role's charge"));
        }
        let pipeline = self.pipeline.clone().ok_or_else(super::write::no_pipeline)?;
        let config = request.config.as_ref();
        match Action::try_from(request.action) {
            Ok(Action::Verify) => verify(&pipeline, config).map(|_| None),
            Ok(Action::VerifyAndSave) => Err(unsupported(
                "VERIFY_AND_SAVE: the program is compiled in, there is no other to save; VERIFY_AND_COMMIT takes this one",
            )),
            Ok(Action::VerifyAndCommit) => {
                let cookie = verify(&pipeline, config)?;
                self.plane.reachable()?;
                let changes = self.store.clearing(&pipeline);
                if !changes.is_empty() {
                    return Ok(Some((cookie, changes)));
                }
                self.store.clear(&pipeline);
                self.cookie = cookie;
                Ok(None)
            }
            Ok(Action::Commit) if config.is_some() => Err(invalid("COMMIT brings no config")),
            Ok(Action::Commit) => Err(not_found("COMMIT: no config is saved")),
            Ok(Action::ReconcileAndCommit) => {
                self.cookie = verify(&pipeline, config)?;
                Ok(None)
            }
            Ok(Action::Unspecified) | Err(_) => Err(invalid("what to do with the config is not said")),
        }
    }

    /// GetForwardingPipelineConfig (§15).
    ///
    /// # Errors
    /// If the device is another one, or the response's type unknown.
    pub fn config(
        &self,
        request: &GetForwardingPipelineConfigRequest,
    ) -> Result<GetForwardingPipelineConfigResponse, Refusal> {
        self.is_ours(request.device_id)?;
        let (info, device_config) = match ResponseType::try_from(request.response_type) {
            Ok(ResponseType::All) => (true, true),
            Ok(ResponseType::CookieOnly) => (false, false),
            Ok(ResponseType::P4infoAndCookie) => (true, false),
            Ok(ResponseType::DeviceConfigAndCookie) => (false, true),
            Err(_) => return Err(invalid(format!("there is no response type {}", request.response_type))),
        };
        let config = self.pipeline.as_ref().map(|pipeline| ForwardingPipelineConfig {
            p4info: info.then(|| pipeline.info().clone()),
            p4_device_config: if device_config { pipeline.device_config.clone() } else { Vec::new() },
            cookie: self.cookie.map(|cookie| Cookie { cookie }),
        });
        Ok(GetForwardingPipelineConfigResponse { config })
    }
}

/// The config is the compiled-in program's; its cookie.
fn verify(pipeline: &Pipeline, config: Option<&ForwardingPipelineConfig>) -> Result<Option<u64>, Refusal> {
    let Some(config) = config else { return Err(invalid("the config is missing")) };
    if config.p4info.as_ref() != Some(pipeline.info()) {
        return Err(invalid("the P4Info is not that of the compiled-in program, which is the only one that can run"));
    }
    if !config.p4_device_config.is_empty() && config.p4_device_config != pipeline.device_config {
        return Err(invalid(
            "the device config is not that of the compiled-in program, which is the only one that can run",
        ));
    }
    Ok(config.cookie.as_ref().map(|cookie| cookie.cookie))
}
