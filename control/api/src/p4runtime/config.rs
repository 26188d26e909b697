//! The two calls about the program. It is compiled in: it can be told, and set to what it is (P4Runtime 1.5.0 §14, §15).

use gantry_p4_proto::runtime::get_forwarding_pipeline_config_request::ResponseType;
use gantry_p4_proto::runtime::set_forwarding_pipeline_config_request::Action;
use gantry_p4_proto::runtime::{
    ForwardingPipelineConfig, GetForwardingPipelineConfigRequest, GetForwardingPipelineConfigResponse,
    SetForwardingPipelineConfigRequest, forwarding_pipeline_config::Cookie,
};

use super::pipeline::Pipeline;
use super::plane::Plane;
use super::role::Authority;
use super::server::Server;
use super::status::{Refusal, denied, invalid, not_found, unsupported};

impl<P: Plane> Server<P> {
    /// SetForwardingPipelineConfig (§14). The one program is the compiled-in one: committing it empties what clients have written,
    /// reconciling with it changes nothing.
    ///
    /// # Errors
    /// If the client may not, or the program is another one.
    #[allow(deprecated)]
    pub fn set_config(&mut self, request: &SetForwardingPipelineConfigRequest) -> Result<(), Refusal> {
        let authority = self.writer(request.device_id, request.role_id, &request.role, request.election_id.as_ref())?;
        if !matches!(authority, Authority::Whole) {
            return Err(denied("the program is not in the role's charge"));
        }
        let pipeline = self.pipeline.clone().ok_or_else(super::write::no_pipeline)?;
        let config = request.config.as_ref();
        match Action::try_from(request.action) {
            Ok(Action::Verify) => verify(&pipeline, config).map(drop),
            Ok(Action::VerifyAndSave) => Err(unsupported(
                "VERIFY_AND_SAVE: the program is compiled in, there is no other to save; VERIFY_AND_COMMIT takes this one",
            )),
            Ok(Action::VerifyAndCommit) => {
                let cookie = verify(&pipeline, config)?;
                let changes = self.store.clearing(&pipeline);
                if !changes.is_empty() {
                    self.plane.commit(&changes).map_err(|refused| refused.reason)?;
                }
                self.store.clear(&pipeline);
                self.digests.follow(&self.store);
                self.cookie = cookie;
                Ok(())
            }
            Ok(Action::Commit) if config.is_some() => Err(invalid("COMMIT brings no config")),
            Ok(Action::Commit) => Err(not_found("COMMIT: no config is saved")),
            Ok(Action::ReconcileAndCommit) => {
                self.cookie = verify(&pipeline, config)?;
                Ok(())
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
