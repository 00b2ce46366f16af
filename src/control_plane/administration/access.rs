//! DescribeAcls, CreateAcls and DeleteAcls: nobody is refused anything, as in Kafka without an authorizer. Pure.

use crate::wire::api::create_acls::{AclCreationResult, CreateAclsRequest, CreateAclsResponse};
use crate::wire::api::delete_acls::{
    DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse,
};
use crate::wire::api::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};
use crate::wire::{ErrorCode, Str};

const DISABLED: ErrorCode = ErrorCode::SecurityDisabled;
const WHY: Str = Str::from_static("This broker has no access control yet.");

pub fn describe(_: &DescribeAclsRequest) -> DescribeAclsResponse {
    DescribeAclsResponse {
        error_code: DISABLED,
        error_message: Some(WHY),
        ..DescribeAclsResponse::default()
    }
}

pub fn create(request: &CreateAclsRequest) -> CreateAclsResponse {
    let refused = AclCreationResult { error_code: DISABLED, error_message: Some(WHY) };
    CreateAclsResponse {
        results: vec![refused; request.creations.len()],
        ..CreateAclsResponse::default()
    }
}

pub fn delete(request: &DeleteAclsRequest) -> DeleteAclsResponse {
    let refused = DeleteAclsFilterResult {
        error_code: DISABLED,
        error_message: Some(WHY),
        matching_acls: Vec::new(),
    };
    DeleteAclsResponse {
        filter_results: vec![refused; request.filters.len()],
        ..DeleteAclsResponse::default()
    }
}
